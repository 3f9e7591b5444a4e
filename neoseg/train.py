"""Train a segmentation network: `python -m neoseg.train +experiment=partial_superclass`."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from neoseg.command import command
from neoseg.run import train


@command("train")
def main(config: DictConfig) -> float:
    """Train, score and write the run folder that Hydra chose."""
    return train(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
