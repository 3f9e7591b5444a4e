"""Make the pseudo-labels of a stage, by the networks that its recipe names or by atlases."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of, digest_of_content
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import predicting_checkpoint
from neoseg.inference.dataset import Provenance
from neoseg.inference.segmenter import segmenter_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.labelling.atlas import METHOD, AtlasLabeller
from neoseg.labelling.in_turn import InTurn
from neoseg.labelling.pseudo import Labeller, PseudoLabeller
from neoseg.labels import STREAMS, Codebook
from neoseg.patches.datamodule import MixedDataModule
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import is_written, needs_prediction
from neoseg.processes import is_first_process
from neoseg.progress import progress_bar
from neoseg.runs.origin import note_changes
from neoseg.runs.stage_data import prepared
from neoseg.runs.start import source_labeller
from neoseg.training.recipe import Stage

log = logging.getLogger(__name__)

LITTLE = 0.25
"""Share of the structures' volume; scans that delineate less of it are told of."""


def make_pseudo_labels(
    run: RunConfig,
    folder: Path,
    plan: Plan,
    before: Sequence[Stage],
    codes: Path,
    device: torch.device,
    resuming: bool = False,
) -> None:
    """Make pseudo-labels for what the annotations of the training scans leave open.

    If a training with them is being resumed (`resuming`), labels that are not those of its start
    are told, and kept for its record.
    """
    data = prepared(run, plan, with_teacher=False)
    data.setup()
    scans = [scan for scan in data.train if needs_prediction(scan, plan.codebook)]
    labeller = _labeller(run, folder, plan, before, data, device)
    roots = [plan.folder(codes, source) for source in plan.sources]
    if resuming and is_first_process():
        other = [
            scan.entry.scan.id
            for scan in scans
            if is_written(scan, roots[scan.source])
            and not is_written(scan, roots[scan.source], labeller.made_of(scan))
        ]
        found = f"{len(other)} of {len(scans)} pseudo-labels are made again during the run"
        told = f"{found}, because the method has changed: {shorten(other)}"
        note_changes(folder, [told] if other else [])
    if isinstance(labeller, AtlasLabeller):
        _warn_of_little_outline(labeller, scans)
    with progress_bar("label", total=len(scans)) as bar:
        provenance = Provenance.of(folder.name)
        for number, (source, labels) in enumerate(zip(plan.sources, roots, strict=True)):
            source_scans = [scan for scan in scans if scan.source == number]
            preview_folder = plan.folder(folder / "pseudo_labels", source)
            labeller.label(source_scans, labels, preview_folder, provenance, bar.advance)


def _warn_of_little_outline(labeller: AtlasLabeller, scans: Sequence[TrainingScan]) -> None:
    """Warn of scans whose annotation gives a registration little to go by."""
    partial = [scan for scan in scans if STREAMS[scan.stream] == "partial"]
    little = [scan.entry.scan.id for scan in partial if labeller.delineated(scan) < LITTLE]
    if little:
        log.warning(
            "the annotation of %d of %d partial scans (%s) delineates less than %.0f %% of what "
            "the full scans show, so that registration has little to go by; and what has no fixed "
            "place, such as a lesion, it puts where the full scans have it. Compare with "
            "+experiment=label_set, which leaves open what the annotation leaves open",
            *(len(little), len(partial), shorten(little), 100 * LITTLE),
        )


def _labeller(
    run: RunConfig,
    folder: Path,
    plan: Plan,
    before: Sequence[Stage],
    data: MixedDataModule,
    device: torch.device,
) -> Labeller:
    """Return what makes the pseudo-labels: earlier stages, another run's network, or atlases.

    Raises:
        ConfigError: no training scan can be an atlas.
    """
    settings = (plan.codebook, run.recipe.min_confidence, data.store.settings.locations)
    if before:
        folders = [earlier.folder(folder) for earlier in before]
        teachers = [TrainedNetwork.load(path, str(device), allow=run.allow) for path in folders]
        weights = digest_of_content([digest_of(predicting_checkpoint(path)) for path in folders])
        segmenters = tuple(segmenter_of(t.spec, t.network, t.device) for t in teachers)
        return PseudoLabeller(*settings, weights, segmenters)
    if not run.recipe.asks_source:
        return _atlas_labeller(run, plan, settings, data, device)
    source = source_labeller(run, plan, settings, device)
    if run.recipe.teacher == "source":
        return source
    atlas = _atlas_labeller(run, plan, settings, data, device)
    weights = digest_of_content([source.weights, atlas.weights])
    return InTurn(*settings, weights, (source, atlas), device)


def _atlas_labeller(
    run: RunConfig,
    plan: Plan,
    settings: tuple[Codebook, float, int],
    data: MixedDataModule,
    device: torch.device,
) -> AtlasLabeller:
    """Return what registers the fully labelled training scans.

    Raises:
        ConfigError: there are none.
    """
    atlases = tuple(scan for scan in data.train if STREAMS[scan.stream] == "full")
    if not atlases:
        raise ConfigError(
            f"recipe.teacher is {run.recipe.teacher}, which needs at least one fully labelled "
            f"training scan, found none{_full_elsewhere(plan)}; raise annotation.full_fraction, or "
            f"choose recipe.teacher={'source' if run.recipe.asks_source else 'partial'}"
        )
    keys = [[scan.entry.folder.name, scan.visible.lookup.tolist()] for scan in atlases]
    options = (run.recipe.atlases, run.recipe.intensities)
    weights = digest_of_content(["atlas", *options, keys, METHOD])
    processes = data.store.settings.processes
    return AtlasLabeller(*settings, weights, atlases, *options, device, processes)


def _full_elsewhere(plan: Plan) -> str:
    """Name fully labelled scans outside the training split, and how to move them there."""
    scans = (scan for source in plan.sources for scan in source.cohort.scans)
    subjects = {s.subject for s in scans if s.annotation and s.annotation.stream == "full"}
    if not subjects:
        return ""
    hint = "put some into training with split=file split.file=FILE, or try another split.seed"
    return f" (those of {shorten(sorted(subjects))} are for validation or test: {hint})"
