"""A run that starts from a trained network, and the file that tells what came from where."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from neoseg.cohort import Plan
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of_content
from neoseg.files import write_json
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError, read_json
from neoseg.foreign.values import value_at
from neoseg.inference.model import ModelSpec
from neoseg.inference.segmenter import segmenter_of
from neoseg.labelling.relabel import SourceLabeller, telling
from neoseg.labels import Codebook
from neoseg.labels.carried import translated
from neoseg.processes import is_first_process
from neoseg.training.module import SegmentationModule
from neoseg.training.warm_start import Source, report_table, start

log = logging.getLogger(__name__)

INIT = "init.json"
"""In the folder of a run that started from another network: what came from where."""

SAID = "source.json"
"""What each leaf of that network means in the run's table, where it labels scans."""


def warm_start(run: RunConfig, folder: Path, module: SegmentationModule) -> None:
    """Give the networks of a module the weights that a run starts from; tell and keep what is new.

    Raises:
        ConfigError, LabelError: as `Source.read` and `start`.
    """
    if run.init_from is None:
        return
    report = start(module, Source.read(run.init_from, run.allow), run.init.map)
    if is_first_process():
        write_json(folder / INIT, report, indent=1, ensure_ascii=False)
        Console().print(report_table(report))
    lost = [row["class"] for row in report["classes"] if row["from"] == "drawn"]
    if lost:
        log.info("drawn, since the old table has nothing like it: %s", ", ".join(lost))


def with_source(run: RunConfig, folder: Path, plan: Plan) -> Plan:
    """Return a plan whose codebook has what the network of `init_from` can tell, if it is asked.

    What it can tell is kept in the run folder: a run that goes on does not need it any more.
    """
    if run.recipe.teacher != "source" or run.init_from is None:
        return plan
    kept = folder / SAID
    if not kept.is_file():
        spec = _spec(Source.read(run.init_from, run.allow))
        said = translated(spec.space, plan.space, run.init.map)
        if is_first_process():
            write_json(kept, {"said": [sorted(leaves) for leaves in said]})
    else:
        try:
            rows = read_json(kept, within=folder)["said"]
            said = tuple(frozenset(map(int, leaves)) for leaves in rows)
        except (ForeignError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{kept} is not what a run writes ({error!r}); restore it") from None
    return replace(plan, codebook=telling(plan.codebook, said))


def _spec(source: Source) -> ModelSpec:
    if source.trained is None:
        raise ConfigError(
            f"recipe.teacher is source, and {source.name} is of another project, whose preparation "
            "is not known here; name a run, or a file of `neoseg export`"
        )
    return source.trained.spec


def source_labeller(
    run: RunConfig, plan: Plan, settings: tuple[Codebook, float, int], device: torch.device
) -> SourceLabeller:
    """Return what fills in annotations by the network that a run starts from.

    Raises:
        ConfigError: a network that reads scans prepared otherwise, or none of their images.
    """
    assert run.init_from is not None
    source = Source.read(run.init_from, run.allow, str(device))
    spec, here = _spec(source), run.preparation(plan.sources[0].cohort)
    for key in ("spacing", "normalise", "foreground"):
        there, now = getattr(spec.prepare, key), getattr(here, key)
        if there != now:
            raise ConfigError(
                f"{source.name} reads scans prepared with store.{key}={there}, and those of this "
                f"run have {now}; set store.{key} as there, or let `neoseg predict` label the scans"
            )
    own = {name: place for place, name in enumerate(plan.modalities)}
    if spec.modalities[0] not in own:
        raise ConfigError(
            f"{source.name} reads {', '.join(spec.modalities)}, and the scans of this run have "
            f"{', '.join(own)}; the first must be among them"
        )
    assert source.trained is not None
    segmenter = segmenter_of(spec, source.trained.network, source.trained.device)
    said = translated(spec.space, plan.space, run.init.map)
    made_of = digest_of_content([source.fingerprint, [sorted(leaves) for leaves in said]])
    images = tuple(own.get(name) for name in spec.modalities)
    return SourceLabeller(*settings, made_of, segmenter, said, images)


def started_from(folder: Path) -> dict[str, Any] | None:
    """Return which network a run started from, for its record; None where it was drawn."""
    if not (folder / INIT).is_file():
        return None
    try:
        report = read_json(folder / INIT, within=folder)
        return {key: value_at(report, key) for key in ("from", "fingerprint", "share")}
    except ForeignError as error:
        log.warning("%s", error)
        return None
