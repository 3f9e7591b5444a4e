"""Time and memory of segmenting one scan, side by side with nnU-Net's predictor.

python benchmark.py [--repeats 3] [--threads 2] [--filters 16,32,64,128,256,320]
                    [--peer-python PYTHON] [--folder FOLDER]

Every figure is that of a process of its own from start to exit, so that imports, reading and
writing count. Nothing but the standard library is imported here: the memory that a process reports
would otherwise include that of the one that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def main() -> None:
    options = parse()
    folder = options.folder.resolve()
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}",
        "OMP_NUM_THREADS": str(options.threads),
        "nnUNet_def_n_proc": str(options.threads),
    }
    filters = json.dumps([int(f) for f in options.filters.split(",")])
    folder.mkdir(parents=True, exist_ok=True)
    call([sys.executable, "material.py", folder, filters], environment)
    alone = json.loads(call([sys.executable, "forward.py", folder], environment))
    # As many windows on a grid of other voxels: what remains is the way there and back.
    jobs = {
        "neoseg": predict(folder, "run"),
        "neoseg, resampled": predict(folder, "run_resampled"),  # voxels 2 % larger than the scan's
    }
    if has_peer(options.peer_python, environment):
        jobs["nnU-Net"] = [options.peer_python, "peer.py", folder, folder / "out" / "peer"]
    else:
        print(f"nnunetv2 or monai is missing in {options.peer_python}: nnU-Net is left out")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for repeat in range(options.repeats):
        for name, command in jobs.items():
            shutil.rmtree(folder / "out", ignore_errors=True)
            found[name].append(measure(command, environment))
            print(f"{repeat + 1}/{options.repeats} {name}: {found[name][-1]}", flush=True)
    print(report(found, alone, json.loads((folder / "network.json").read_text()), options))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--filters", default="16,32,64,128,256,320")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "benchmark_inference")
    return parser.parse_args()


def predict(folder: Path, run: str) -> list[object]:
    """The command that a user types."""
    arguments = [f"run={folder / run}", f"input={folder / 'scan'}", f"output={folder / 'out'}"]
    return [sys.executable, "-m", "neoseg.predict", *arguments, "device=cpu"]


def has_peer(python: str, environment: dict[str, str]) -> bool:
    command = [python, "-c", "import nnunetv2, monai.networks.nets"]
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def call(command: list[object], environment: dict[str, str]) -> str:
    arguments = [str(part) for part in command]
    result = subprocess.run(
        arguments, cwd=HERE, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""


def measure(command: list[object], environment: dict[str, str]) -> dict[str, float]:
    """Return wall time and processor time in s, and the peak of resident memory in GB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=HERE,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{errors.decode()[-3000:]}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor": round(usage.ru_utime + usage.ru_stime, 1),
        "memory": round(usage.ru_maxrss / 1e6, 2),
    }


def report(
    found: dict[str, list[dict[str, float]]],
    alone: dict[str, float],
    record: dict,
    options: argparse.Namespace,
) -> str:
    """Return medians over the repeats as a Markdown table."""
    filters = record["network"]["filters"]
    lines = [
        f"{platform.platform()}, {options.threads} threads; U-Net {filters}, "
        f"{record['millions']:.1f} M parameters, patch {record['patch']}; one forward pass alone: "
        f"{alone['seconds']:.1f} s, {alone['activations']:.2f} GB",
        "",
        "| | time, s | processor time, s | peak memory, GB | beyond one forward pass, GB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    for name, row in medians.items():
        beyond = row["memory"] - alone["activations"]
        lines.append(
            f"| {name} | {row['seconds']:.0f} | {row['processor']:.0f} | {row['memory']:.2f} | "
            f"{beyond:.2f} |"
        )
    if "nnU-Net" in medians:
        peer = medians["nnU-Net"]
        lines.append("")
        for name, row in medians.items():
            if name != "nnU-Net":
                ratios = [f"{peer[key] / row[key]:.2f} {key}" for key in row]
                lines.append(f"nnU-Net / {name}: {', '.join(ratios)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
