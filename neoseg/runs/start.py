"""Start a run from a trained network, and record what came from where."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from neoseg.cohort import Plan
from neoseg.cohort.split import SPLITS
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of_content
from neoseg.doctor.cohort import known_sets, unknown_classes
from neoseg.files import write_json
from neoseg.findings.command_line import override
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError, read_json
from neoseg.foreign.values import value_at
from neoseg.inference.model import ModelSpec
from neoseg.inference.segmenter import segmenter_of
from neoseg.labelling.relabel import SourceLabeller, telling
from neoseg.labels import Codebook
from neoseg.labels.carried import translated
from neoseg.processes import is_first_process
from neoseg.runs.folder import INIT
from neoseg.runs.people import PLAN, SPLIT, seen_before, seen_by, write_seen
from neoseg.store.leaks import Leak, Member, by_image, by_name, require_none
from neoseg.training.module import SegmentationModule
from neoseg.training.warm_start import Source, report_table, start

log = logging.getLogger(__name__)

TRANSLATION = "source.json"
"""What each leaf of that network means in the run's table, if the network labels scans."""


def warm_start(run: RunConfig, folder: Path, module: SegmentationModule) -> None:
    """Initialise a module with the weights that a run starts from; report and record the origin.

    Raises:
        ConfigError, LabelError: as `Source.read` and `start`.
    """
    if run.init_from is None:
        return
    report = start(module, Source.read(run.init_from, run.allow), run.init.map)
    if is_first_process():
        write_json(folder / INIT, report, indent=1, ensure_ascii=False)
        Console().print(report_table(report))
    drawn = [row["class"] for row in report["classes"] if row["from"] == "drawn"]
    if drawn:
        log.info("drawn, since the old table has nothing like it: %s", ", ".join(drawn))


def require_unseen(run: RunConfig, folder: Path, members: Sequence[Member]) -> None:
    """Require that the network of `init_from` has not seen the people of the test.

    With folds, whose networks are judged by the training scans, nor those of the training. That it
    was trained on people of the validation is a warning.

    The scans it has seen are recorded in the run folder: a resumed run does not need the network,
    and whoever starts from this run or evaluates it learns of them.

    Args:
        run: its key `leaks` tells how a leak is treated.
        folder: of the run.
        members: the scans of the run; images are compared where they have signatures.

    Raises:
        DataError: people of the test on whom that network was trained or validated.
    """
    if run.init_from is None:
        return
    seen = seen_before(folder, run.init_from)
    if seen is None:
        source = Path(run.init_from)
        seen = seen_by(source) if (source / PLAN).is_file() else []
        if not seen:
            log.warning(
                "init_from=%s does not record on whom it was trained: if people of your test split "
                "were among them, the scores are too good",
                source,
            )
        if is_first_process():
            write_seen(folder, run.init_from, seen)
    validated = [member for member in members if member.part == "val"]
    learnt = [member for member in seen if member.part == "train"]
    require_none(_leaks(run, learnt, validated), "tell", "")
    judged = ("test", "train") if run.recipe.kind == "folds" else ("test",)
    leaks = _leaks(run, seen, [member for member in members if member.part in judged])
    file = override("split.file", Path(run.init_from) / SPLIT)
    keys = ("split=file", file, "split.subset=true", "split.others=train")
    advice = (
        "leave init_from out, as folds score their training scans"
        if run.recipe.kind == "folds"
        else f"use the split of that run ({' '.join(keys)})"
    )
    remedy = (
        f"scores of people that a network was trained on say nothing about others: {advice}, or "
        "set leaks=namesakes for other people of the same id, leaks=tell to go on all the same"
    )
    require_none(leaks, run.leaks, remedy)


def _leaks(run: RunConfig, seen: Iterable[Member], own: Iterable[Member]) -> Iterator[Leak]:
    """Yield the scans of a run that are of people whom the network of `init_from` has seen."""
    everyone = [*(replace(m, part=f"the training of {run.init_from}") for m in seen), *own]
    by_id = by_name(everyone) if run.leaks != "namesakes" else ()
    yield from (leak for leak in (*by_id, *by_image(everyone)) if leak.first.part not in SPLITS)


def with_source(run: RunConfig, folder: Path, plan: Plan) -> Plan:
    """Return a plan whose codebook includes the label sets of the network of `init_from`.

    The plan is unchanged unless that network is the recipe's teacher. The label sets are stored in
    the run folder, so that a resumed run does not need the network any more.
    """
    if not run.recipe.asks_source or run.init_from is None:
        return plan
    path = folder / TRANSLATION
    if not path.is_file():
        spec = _require_spec(Source.read(run.init_from, run.allow))
        label_sets = translated(spec.space, plan.space, run.init.map)
        if is_first_process():
            write_json(path, {"said": [sorted(leaves) for leaves in label_sets]})
    else:
        try:
            rows = read_json(path, within=folder)["said"]
            label_sets = tuple(frozenset(map(int, leaves)) for leaves in rows)
        except (ForeignError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is not what a run writes ({error!r}); restore it") from None
    known = {leaves for source in plan.sources for leaves in known_sets(source)}
    for problem in unknown_classes(plan.space, known | set(label_sets)):
        log.warning("%s", problem)
    return replace(plan, codebook=telling(plan.codebook, label_sets))


def _require_spec(source: Source) -> ModelSpec:
    if source.trained is None:
        raise ConfigError(
            f"recipe.teacher asks that network, and {source.name} is of another project, whose "
            "preparation is not known here; name a run, or a file of `neoseg export`"
        )
    return source.trained.spec


def source_labeller(
    run: RunConfig, plan: Plan, settings: tuple[Codebook, float, int], device: torch.device
) -> SourceLabeller:
    """Return a labeller that completes annotations with the network that a run starts from.

    Raises:
        ConfigError: a network that needs another preparation, or whose first image is missing.
    """
    assert run.init_from is not None
    source = Source.read(run.init_from, run.allow, str(device))
    spec, preparation = _require_spec(source), run.preparation(plan.sources[0].cohort)
    keys = ("spacing", "normalise", "window", "foreground")
    theirs, own = (
        {f"store.{key}": _written(getattr(prepare, key)) for key in keys}
        for prepare in (spec.prepare, preparation)
    )
    if other := [key for key in theirs if theirs[key] != own[key]]:
        here, there = (" ".join(override(k, of[k]) for k in other) for of in (own, theirs))
        raise ConfigError(
            f"{source.name} reads scans prepared with {there}, and those of this run have {here}; "
            f"set {there}, or let `neoseg predict` label the scans"
        )
    channels = {name: index for index, name in enumerate(plan.modalities)}
    if spec.modalities[0] not in channels:
        raise ConfigError(
            f"{source.name} reads {', '.join(spec.modalities)}, and the scans of this run have "
            f"{', '.join(channels)}; the first must be among them: if they are images of one kind, "
            f"call them alike, cohort.modalities=['{spec.modalities[0]}'] (for cohort=table also "
            f"'cohort.columns={{{spec.modalities[0]}: COLUMN}}')"
        )
    assert source.trained is not None
    segmenter = segmenter_of(spec, source.trained.network, source.trained.device)
    label_sets = translated(spec.space, plan.space, run.init.map)
    fingerprint = digest_of_content([source.fingerprint, [sorted(leaves) for leaves in label_sets]])
    images = tuple(channels.get(name) for name in spec.modalities)
    return SourceLabeller(*settings, fingerprint, segmenter, label_sets, images)


def _written(value: object) -> str:
    """Return a setting as it is typed."""
    if value is None:
        return "null"
    return f"[{','.join(f'{x:g}' for x in value)}]" if isinstance(value, tuple) else str(value)


def started_from(folder: Path) -> dict[str, Any] | None:
    """Return the network that a run started from, for its record; None if there is none."""
    if not (folder / INIT).is_file():
        return None
    try:
        report = read_json(folder / INIT, within=folder)
        return {key: value_at(report, key) for key in ("from", "fingerprint", "share")}
    except ForeignError as error:
        log.warning("%s", error)
        return None
