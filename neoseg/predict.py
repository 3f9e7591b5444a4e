"""Segment scans with a trained run: `python -m neoseg.predict run=DIR input=PATH output=DIR`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from neoseg import __version__
from neoseg.command import USER_ERRORS, command
from neoseg.config import plain
from neoseg.inference import (
    Provenance,
    ScanFiles,
    Segmenter,
    find_scans,
    plan_derivatives,
    write_derivative,
    write_overlay,
)
from neoseg.labels import Codebook
from neoseg.loading import load_module, segmenter_of
from neoseg.progress import progress_bar

log = logging.getLogger(__name__)


@command("predict")
def main(config: DictConfig) -> None:
    """Segment every scan that has no segmentation yet; list failures at the end."""
    run, output = Path(config.run), Path(config.output)
    module = load_module(run, config.device)
    segmenter = segmenter_of(module, **plain(config.window))
    scans = find_scans(Path(config.input), module.hparams["modalities"])
    targets = plan_derivatives(output, [scan.source for scan in scans])
    provenance = Provenance("neoseg", __version__, run.resolve().name)
    waiting = [s for s in scans if config.overwrite or not targets[s.source].exists()]
    if len(waiting) < len(scans):
        log.info("%d of %d scans are segmented already", len(scans) - len(waiting), len(scans))
    failures = []
    with progress_bar("segment", total=len(waiting)) as bar:
        for scan in waiting:
            try:
                _segment(scan, segmenter, output, provenance, config.picture)
            except (*USER_ERRORS, OSError, RuntimeError) as error:
                failures.append(f"  {scan.source}: {error}")
            bar.advance(scan.source.name)
    log.info("%d scans segmented into %s", len(waiting) - len(failures), output)
    if failures:
        log.error("%d scans failed:\n%s", len(failures), "\n".join(failures))
        sys.exit(1)


def _segment(
    scan: ScanFiles, segmenter: Segmenter, output: Path, provenance: Provenance, picture: bool
) -> None:
    found = segmenter.segment(scan.images)
    space = segmenter.head.space
    target = write_derivative(output, scan.source, found.native, space, provenance)
    if picture:
        name = target.name.split(".nii")[0]
        write_overlay(
            output / "pictures" / f"{name}.png",
            np.asarray(found.image),
            found.prepared_leaves,
            None,
            Codebook.build(space),
            found.geometry.spacing,
            scan=name,
        )


if __name__ == "__main__":
    main()
