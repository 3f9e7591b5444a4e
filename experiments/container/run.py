"""The entry point of a BIDS-App: `run.py BIDS_DIR OUTPUT_DIR participant --model FILE`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Segment all participants, or those that are named; return the status of the last failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("analysis_level", choices=["participant"])
    parser.add_argument("--model", type=Path, required=True, help="a file of `neoseg export`")
    parser.add_argument("--participant-label", "--participant_label", nargs="+", default=[])
    parser.add_argument("--device", default="auto")
    words = parser.parse_args()
    labels = [label.removeprefix("sub-") for label in words.participant_label]
    inputs = [words.bids_dir / f"sub-{label}" for label in labels] or [words.bids_dir]
    missing = [str(folder) for folder in (*inputs, words.model) if not folder.exists()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    status = 0
    for folder in inputs:
        settings = (f"model={words.model}", f"input={folder}", f"output={words.output_dir}")
        done = subprocess.run(
            [sys.executable, "-m", "neoseg.predict", *settings, f"device={words.device}"]
        )
        status = done.returncode or status
    return status


if __name__ == "__main__":
    sys.exit(main())
