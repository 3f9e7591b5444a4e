"""Sizes, parity and cold start of exports: `python measure.py RUN IMAGE` (with the extra onnx)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import nibabel as nib
import numpy as np


def timed(*command: object) -> float:
    start = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def labels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def main(run: Path, image: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = [sys.executable, "-m"]
        for kind in ("neoseg", "onnx"):
            output = folder / f"model.{kind}"
            timed(*own, "neoseg.export", f"run={run}", f"output={output}", f"format={kind}")
            print(f"{kind:28} {output.stat().st_size / 1e6:8.2f} MB")
        checkpoint = run / "checkpoints" / "last.ckpt"
        print(f"{'last.ckpt':28} {checkpoint.stat().st_size / 1e6:8.2f} MB")
        found = {}
        for key, place in (("run", run), ("model", folder / "model.neoseg")):
            arguments = (f"{key}={place}", f"input={image}", f"output={folder / key}")
            seconds = timed(*own, "neoseg.predict", *arguments, "device=cpu", "picture=false")
            print(f"{f'neoseg.predict {key}=':28} {seconds:8.1f} s")
            found[key] = labels(next((folder / key).rglob("*_dseg.nii.gz")))
        assert np.array_equal(found["run"], found["model"])
        start = time.perf_counter()
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        packages = ("numpy", "nibabel", "onnxruntime")
        timed(python, "-m", "pip", "install", "-q", *packages)
        print(f"{'new environment':28} {time.perf_counter() - start:8.1f} s")
        out = folder / "out.nii.gz"
        for which in ("first", "second"):
            seconds = timed(python, folder / "segment.py", folder / "model.onnx", out, image)
            print(f"{f'segment.py, {which} time':28} {seconds:8.1f} s")
        same = (labels(out) == found["run"]).mean()
        print(f"{'voxels alike':28} {same:8.5%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
