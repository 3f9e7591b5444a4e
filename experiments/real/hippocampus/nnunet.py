"""nnU-Net on the same people, as its users would: `python nnunet.py TASK04 FOLDER --arm ignore`.

    python experiments/real/hippocampus/nnunet.py TASK04_FOLDER WORK_FOLDER \
        --who RUN_FOLDER/annotation.csv --arm full|ignore|all [--steps 1000]

Needs nnU-Net (2.8.1 was used) in an environment of its own. `who` is the annotation plan of a run
of neoseg: the same people are drawn in full. Arms: *full* trains on those alone, *ignore* on
everybody, the hidden hippocampus carrying nnU-Net's ignore label, *all* on everybody in full.
Planned, preprocessed and augmented by nnU-Net's defaults (3d_fullres, fold "all"), except for the
number of steps, which its schedule knows. Segments the test people and appends Dice, steps and CPU
seconds to nnunet.csv in WORK_FOLDER.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
from pathlib import Path

import nibabel as nib
import numpy as np

HERE = Path(__file__).parent
NAMES = {"full": 101, "ignore": 102, "all": 103}
IGNORE = 3
EPOCH = 25
"""Steps of an epoch, after which nnU-Net changes the learning rate and validates one batch."""


def cpu_seconds() -> float:
    """Return the seconds of processor of this process and of those it has waited for."""
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_dataset(task: Path, folder: Path, arm: str, full: set[str], train: set[str]) -> list[str]:
    """Write a raw dataset of nnU-Net; return its training cases."""
    cases = []
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for item in json.loads((task / "dataset.json").read_text(encoding="utf-8"))["training"]:
        image, label = task / item["image"], task / item["label"]
        subject = image.name.removesuffix(".nii.gz").replace("_", "")
        if subject not in train or (arm == "full" and subject not in full):
            continue
        cases.append(subject)
        link = folder / "imagesTr" / f"{subject}_0000.nii.gz"
        link.unlink(missing_ok=True)
        link.symlink_to(image.resolve())
        drawn = nib.load(label)
        values = np.asarray(drawn.dataobj).astype(np.uint8)
        if arm == "ignore" and subject not in full:
            values[values > 0] = IGNORE
        nib.save(nib.Nifti1Image(values, drawn.affine), folder / "labelsTr" / f"{subject}.nii.gz")
    labels = {"background": 0, "Anterior": 1, "Posterior": 2}
    if arm == "ignore":
        labels["ignore"] = IGNORE
    about = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz"}
    about["numTraining"] = len(cases)
    (folder / "dataset.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return cases


def train(name: str, place: Path, steps: int, device: str) -> Path:
    """Plan, preprocess (into `place`) and train; return the folder of the trained network."""
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    number = int(name[7:10])
    os.environ.update(nnUNet_n_proc_DA="1")  # threads of the planner, which may not be none
    extract_fingerprints([number], num_processes=1, check_dataset_integrity=True)
    plan_experiments([number])
    preprocess([number], configurations=["3d_fullres"], num_processes=[1])
    plans, about = (
        json.loads((place / name / file).read_text(encoding="utf-8"))
        for file in ("nnUNetPlans.json", "dataset.json")
    )
    os.environ.update(nnUNet_n_proc_DA="0")  # augment in this process
    torch.manual_seed(0)
    np.random.seed(0)
    plans["continue_training"] = False
    trainer = nnUNetTrainer(plans, "3d_fullres", "all", about, device=torch.device(device))
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = EPOCH, 1
    trainer.num_epochs = steps // EPOCH
    trainer.run_training()
    return Path(trainer.output_folder_base)


def dice_of(
    network: Path, task: Path, out: Path, test: list[str], device: str
) -> tuple[float, float]:
    """Segment the test people; return mean Dice of the two parts, and of the hippocampus."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device(device), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(network), ("all",), "checkpoint_final.pth")
    out.mkdir(parents=True, exist_ok=True)
    files = {s: f"hippocampus_{s.removeprefix('hippocampus')}.nii.gz" for s in test}
    predictor.predict_from_files_sequential(
        [[str(task / "imagesTr" / file)] for file in files.values()],
        [str(out / subject) for subject in files],
    )
    parts, whole = [], []
    for subject, file in files.items():
        found = np.asarray(nib.load(out / f"{subject}.nii.gz").dataobj)
        truth = np.asarray(nib.load(task / "labelsTr" / file).dataobj)
        parts += [dice(found == part, truth == part) for part in (1, 2)]
        whole.append(dice(found > 0, truth > 0))
    return statistics.mean(parts), statistics.mean(whole)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--who", type=Path, required=True, help="annotation.csv of a run")
    parser.add_argument("--arm", choices=NAMES, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--device", default="cpu", help="cpu | cuda")
    asked = parser.parse_args()
    if asked.steps < EPOCH or asked.steps % EPOCH:
        parser.error(f"--steps is {asked.steps}, expected a multiple of {EPOCH}")
    name = f"Dataset{NAMES[asked.arm]}_hippocampus_{asked.arm}"
    for part in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{part}"] = str(asked.folder / part)
    os.environ.setdefault("nnUNet_compile", "false")
    full = {row["subject"] for row in rows(asked.who) if row["stream"] == "full"}
    split = {row["subject"]: row["split"] for row in rows(HERE / "split.csv")}
    chosen = {subject for subject, where in split.items() if where == "train"}
    cases = write_dataset(asked.task, asked.folder / "raw" / name, asked.arm, full & chosen, chosen)
    print(f"{asked.arm}: {len(cases)} people, {len(full & chosen)} of them in full", flush=True)
    network = train(name, asked.folder / "preprocessed", asked.steps, asked.device)
    seconds = cpu_seconds()
    test = sorted(subject for subject, where in split.items() if where == "test")
    out = asked.folder / "predicted" / asked.arm
    parts, whole = dice_of(network, asked.task, out, test, asked.device)
    table = asked.folder / "nnunet.csv"
    new = not table.exists()
    with table.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            header = "arm,people,in_full,steps,cpu_seconds,dice_hidden_parts,dice_hippocampus"
            writer.writerow(header.split(","))
        drawn = len(cases) if asked.arm == "all" else len(full & chosen)
        counts = (len(cases), drawn, asked.steps, round(seconds))
        writer.writerow([asked.arm, *counts, f"{parts:.4f}", f"{whole:.4f}"])
    print(table.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
