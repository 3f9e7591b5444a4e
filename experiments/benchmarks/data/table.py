"""What the benchmarks of this folder share: their table, their machine, a phantom."""

from __future__ import annotations

import argparse
import csv
import os
import platform
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from neoseg.cohort import Cohort
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.run import RunConfig

HERE = Path(__file__).resolve().parent
COLUMNS = ("figure", "case", "value", "unit", "reach", "machine")


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """Return a command line that explains itself and says where phantoms lie."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=_folder, default="data", help="folder of the phantoms")
    return parser


def _folder(text: str) -> Path:
    path = Path(text).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def machine() -> str:
    """Describe the processor, the threads in use and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return (
        f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__} on {torch.get_num_threads()} "
        f"threads, Python {platform.python_version()}"
    )


def record(figure: str, rows: list[tuple[str, float, str, str]]) -> None:
    """Print a table, and put the rows (case, value, unit, reach) into the CSV."""
    where = machine()
    path = HERE / "loading.csv"
    old: list[dict[str, str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as handle:
            old = [row for row in csv.DictReader(handle) if row["figure"] != figure]
    new = [
        dict(zip(COLUMNS, (figure, case, f"{value:.4g}", unit, reach, where), strict=True))
        for case, value, unit, reach in rows
    ]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*old, *new], key=lambda row: row["figure"]))
    print(f"\n{where}\n\n| {figure} | value | to reach |\n| --- | ---: | ---: |")
    for case, value, unit, reach in rows:
        print(f"| {case} | {value:.4g} {unit} | {reach} |")


def one_phantom(data: Path, spacing: float) -> Cohort:
    """Return the cohort of one phantom subject."""
    overrides = [f"paths.data={data}", f"cohort.phantom.spacing={spacing}"]
    overrides += ["cohort.phantom.subjects=1", "cohort.phantom.t1w_missing_share=0.0"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", [*overrides, "cohort.modalities=[T2w,T1w]"])
    return RunConfig.parse(config).read_cohort()
