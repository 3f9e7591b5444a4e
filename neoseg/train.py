"""Train a segmentation network: `python -m neoseg.train +experiment=partial_superclass`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig

from neoseg.command import command
from neoseg.resume import resumed_config
from neoseg.run import train


@command("train")
def main(config: DictConfig) -> float:
    """Train, score and write the run folder that Hydra chose."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if config.resume is not None:
        config = resumed_config(folder, list(hydra.overrides.task))
    try:
        return train(config, folder)
    except SIGTERMException:
        # Lightning's exception would end the process as if all were well.
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
