"""Segment scans with trained runs: `python -m neoseg.predict run=DIR input=PATH output=DIR`."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from neoseg import __version__
from neoseg.configuration.command import USER_ERRORS, command
from neoseg.configuration.config import plain
from neoseg.findings.faults import fault_message, is_full, note_traceback
from neoseg.findings.settings import ConfigError
from neoseg.inference import (
    Ensemble,
    Provenance,
    ScanFiles,
    Segmenter,
    derivative_path,
    find_scans,
    other_makers,
    plan_derivatives,
    probability_paths,
    write_derivative,
    write_overlay,
    write_probabilities,
)
from neoseg.labels import Codebook, LabelSpace
from neoseg.progress import progress_bar
from neoseg.runs.folder import CONFIG
from neoseg.runs.loading import load_config, load_predictor, warn_of_unfinished

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """What is done with each scan."""

    segmenter: Segmenter | Ensemble
    output: Path
    provenance: Provenance
    classes: list[int]
    picture: bool

    @property
    def space(self) -> LabelSpace:
        return self.segmenter.head.space

    def is_done(self, scan: ScanFiles, target: Path) -> bool:
        """Tell whether the label map and all probabilities asked for are there."""
        wanted = probability_paths(self.output, scan.source, self.space, self.classes)
        return all(path.exists() for path in [target, *wanted])

    def run(self, scan: ScanFiles) -> None:
        """Segment one scan and write everything about it; the label map says that it is done."""
        output, space = self.output, self.space
        found = self.segmenter.segment(
            scan.images, classes=self.classes, scratch=output, mask=scan.mask
        )
        if found.probabilities is not None:
            write_probabilities(output, scan.source, found.probabilities, space, self.provenance)
        if self.picture:
            name = derivative_path(output, scan.source).name.split(".nii")[0]
            write_overlay(
                output / "pictures" / f"{name}.png",
                found.image,
                found.prepared_leaves,
                None,
                Codebook.build(space),
                found.geometry.spacing,
                scan=name,
            )
        write_derivative(output, scan.source, found.native, space, self.provenance)


@command("predict")
def main(config: DictConfig) -> None:
    """Segment every scan that has no segmentation yet; list failures at the end."""
    if _is_list(config.input):
        raise ConfigError("input is a list; name one file, or a folder that holds them all")
    output = Path(config.output)
    runs = [Path(run) for run in config.run] if _is_list(config.run) else [Path(config.run)]
    if not runs:
        raise ConfigError("run is an empty list; name one run folder or more")
    warn_of_unfinished(runs)
    segmenter, modalities = load_predictor(
        runs, config.device, config.predict_with, **plain(config.window)
    )
    made_by = " + ".join(run.resolve().name for run in runs)
    classes = _classes(segmenter.head.space, plain(config.probseg))
    provenance = Provenance("neoseg", __version__, made_by)
    job = _Job(segmenter, output, provenance, classes, config.picture)
    scans = find_scans(Path(config.input), modalities, config.desc, _trained_on(runs[0]))
    for number, modality in enumerate(modalities):
        lacking = sum(scan.images[number] is None for scan in scans)
        if lacking:
            log.info("%d of %d scans have no %s", lacking, len(scans), modality)
    if _drops(segmenter):
        scans = [scan for scan in scans if None not in scan.images]
        log.info("%d scans are left, since the training left out such scans too", len(scans))
    targets = plan_derivatives(output, [scan.source for scan in scans])
    waiting = [s for s in scans if config.overwrite or not job.is_done(s, targets[s.source])]
    if len(waiting) < len(scans):
        log.info("%d of %d scans are segmented already", len(scans) - len(waiting), len(scans))
        _require_own(output, provenance)
    failures = []
    with progress_bar("segment", total=len(waiting)) as bar:
        for scan in waiting:
            try:
                job.run(scan)
            except USER_ERRORS as error:
                where = "" if str(error).startswith(str(scan.source)) else f"{scan.source}: "
                failures.append(f"  {where}{error}")
            except Exception as error:  # one strange scan must not cost the night's other ones
                if is_full(error):
                    raise  # they would all fail
                note_traceback(log, error)
                told = fault_message(error) or f"{type(error).__name__}: {error}"
                failures.append(f"  {scan.source}: {told}")
            bar.advance(scan.source.name)
    log.info("%d scans segmented into %s", len(waiting) - len(failures), output)
    if failures:
        log.error("%d scans failed:\n%s", len(failures), "\n".join(failures))
        sys.exit(1)


def _require_own(output: Path, provenance: Provenance) -> None:
    """Warn where what is there may be of other runs; raise `ConfigError` where all of it is."""
    own, others = other_makers(output, provenance)
    what = f"{output} holds segmentations of other runs: {'; '.join(others)}"
    if not own:
        raise ConfigError(f"{what}; choose another output folder, or set overwrite=true")
    if others:
        log.warning("%s. Those of scans that are there already are kept as they are", what)


def _trained_on(run: Path) -> str | None:
    """Return the `desc-` of the images that a run was trained on ("none": without), if known."""
    if not (run / CONFIG).is_file():
        return None
    cohort = load_config(run).cohort
    if cohort.get("image_desc"):
        return str(cohort.image_desc)
    return "none" if cohort.get("restore") is False else None


def _drops(segmenter: Segmenter | Ensemble) -> bool:
    """Tell whether some network was trained without the scans that lack an image."""
    members = segmenter.members.values() if isinstance(segmenter, Ensemble) else [segmenter]
    return any(m.missing is not None and m.missing.policy == "drop" for m in members)


def _is_list(value: object) -> bool:
    return isinstance(value, list | ListConfig)


def _classes(space: LabelSpace, names: list[str] | str | None) -> list[int]:
    """Return the positions of the classes called `names`; raises `LabelError`."""
    if names is None or names == []:
        return []
    if names == "all":
        return list(range(space.num_classes))
    return [space.class_position(name) for name in ([names] if isinstance(names, str) else names)]


if __name__ == "__main__":
    main()
