"""Observe runs of hippocampi on scans that they were not trained on, as they are and changed.

python experiments/trust/observe.py OUTPUT RUN [RUN...] [--data FOLDER] [--change NAME...]
    [--count N] [--mirror] [--together]
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from neoseg.augment.artefact import Motion
from neoseg.cohort import Cohort, Scan
from neoseg.cohort.annotation import read_plan
from neoseg.cohort.split import shuffled
from neoseg.commands.calibrate import observe
from neoseg.configuration.data import DataConfig
from neoseg.evaluation.scoring import codebook_of
from neoseg.progress import progress_bar
from neoseg.runs.loading import load_config, load_predictor
from neoseg.trust.folder import keep, read

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    low, high = image.min(), image.max()
    return low + (high - low) * ((image - low) / (high - low)) ** 2.5


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, 0.5 * image.std(), image.shape)


def motion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = (image.shape[0], image.shape[1], image.shape[2])
    return Motion.draw(rng, size, 8.0).apply(torch.from_numpy(image).float()).numpy()


CHANGES: dict[str, Change] = {
    "as it is": lambda image, rng: image,
    "contrast (gamma 2.5)": contrast,
    "inverted": lambda image, rng: image.max() + image.min() - image,
    "noise (.5 deviations)": noise,
    "motion (8 mm, 8 degrees)": motion,
    "slices of 3 mm": lambda image, rng: image,
}


def changed(scan: Scan, name: str, folder: Path) -> Scan:
    """Write the images of a scan anew, changed; of thick slices the labels, too."""
    rng = np.random.default_rng(zlib.crc32(f"{scan.id} {name}".encode()))
    files = []
    for path in (*scan.images, scan.label):
        assert path is not None
        image, is_label = nib.load(path), path == scan.label
        values, affine = image.get_fdata(), image.affine.copy()
        if not is_label:
            values = CHANGES[name](values, rng)
        if name.startswith("slices"):
            thick = [values[..., n : values.shape[2] - 2 + n : 3] for n in range(3)]
            values = thick[1] if is_label else np.mean(thick, axis=0)
            affine[:3, 3] += affine[:3, 2]
            affine[:3, 2] *= 3
        files.append(folder / name / f"{'labels' if is_label else 'image'}-{path.name}")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        kind = np.uint8 if is_label else np.float32
        nib.save(nib.Nifti1Image(values.astype(kind), affine), files[-1])
    return replace(scan, images=tuple(files[:-1]), label=files[-1])


def held_out(runs: list[Path], data: Path | None) -> tuple[Cohort, list[Scan]]:
    """Return the scans with which no run was trained, in an order of their own for each set."""
    content = load_config(runs[0])
    if data is not None:
        content["cohort"]["root"] = str(data)
    config = DataConfig.parse({k: content[k] for k in DataConfig.model_fields if k in content})
    cohort = config.read_cohort()
    plans = [read_plan(run / "annotation.csv") for run in runs]
    trained = {item.subject for plan in plans for item in plan if item.split == "train"}
    left = {scan.subject: scan for scan in cohort.scans if scan.subject not in trained}
    order = shuffled(sorted(left), "trust", content["annotation"]["draw"])
    return cohort, [left[name] for name in order]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, help="where the scans lie now")
    parser.add_argument("--change", nargs="+", choices=CHANGES, default=["as it is"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--together", action="store_true", help="the runs as one ensemble")
    chosen = parser.parse_args()
    for runs in [chosen.runs] if chosen.together else [[run] for run in chosen.runs]:
        cohort, scans = held_out(runs, chosen.data)
        codebook = codebook_of(scans, cohort.convention)
        segmenter, _ = load_predictor(runs, "cpu", None, mirror=chosen.mirror or None)
        name = "+".join(run.name for run in runs) + (" mirror" if chosen.mirror else "")
        for change in chosen.change:
            folder = chosen.output / name / change
            with progress_bar(f"{name[:40]}, {change}", total=min(chosen.count, len(scans))) as bar:
                for scan in scans[: chosen.count]:
                    if read(folder, scan.id, codebook.space, change) is None:
                        other = changed(scan, change, chosen.output / "scans")
                        keep(
                            folder,
                            observe(segmenter, other, cohort.convention, codebook, other.id),
                            change,
                        )
                    bar.advance(scan.id)


if __name__ == "__main__":
    main()
