"""Make a plan for a configuration, and write it with its reasons."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from omegaconf import DictConfig

from neoseg.cohort import Plan
from neoseg.configuration.planned import PLAN_FILE, Given, hindrance, with_plan, with_values
from neoseg.configuration.run import RunConfig
from neoseg.files import write_text
from neoseg.findings.command_line import override
from neoseg.planning.cost import expected
from neoseg.planning.decide import Decision, decide
from neoseg.planning.fingerprint import Fingerprint
from neoseg.planning.machine import Machine
from neoseg.processes import is_first_process
from neoseg.store.checks import shown

log = logging.getLogger(__name__)

Run = TypeVar("Run", bound=RunConfig)


@dataclass(frozen=True)
class Made(Generic[Run]):
    """A plan: the decisions, the run configured with them, and its annotation plan."""

    decisions: tuple[Decision, ...]
    run: Run
    plan: Plan

    def text(self, title: str) -> str:
        """Return the decisions as YAML, with the reason as comment after each key."""
        lines, groups = [f"# {title}"], dict[str, list[Decision]]()
        for decision in self.decisions:
            groups.setdefault(decision.key.partition(".")[0], []).append(decision)
        for group, decisions in groups.items():
            if group == decisions[0].key:
                lines.append(f"{group}: # {decisions[0].reason}")
                lines += [f"  {line}" for line in _yaml(decisions[0].value).splitlines()]
                continue
            lines.append(f"{group}:")
            for decision in decisions:
                key = decision.key.partition(".")[2]
                lines.append(f"  {key}: {_yaml(decision.value)} # {decision.reason}")
        return "\n".join(lines) + "\n"


def make(kind: type[Run], config: DictConfig, given: Given) -> Made[Run]:
    """Make a plan for a configuration whose patch and batch size are provisional.

    Raises:
        ConfigError, CohortError, DataError: errors that prevent the run from starting.
    """
    run = kind.parse(config)
    normalised = "store.normalise" in given
    fingerprint = Fingerprint.of(run, super(RunConfig, run).plan(), normalised)
    decisions = tuple(decide(run, fingerprint, Machine.of(run), given))
    planned = kind.parse(with_values(config, {d.key: d.value for d in decisions}))
    return Made(decisions, planned, planned.plan())


def parse_planned(
    kind: type[Run], config: DictConfig, hydra: Any, folder: Path | None = None
) -> Run:
    """Parse a configuration with its plan, which is made first if necessary.

    Args:
        kind: class of the configuration.
        config: composed configuration.
        hydra: its `hydra` node.
        folder: run folder, in which a new plan is saved.

    Raises:
        ConfigError, CohortError, DataError: as `make`.
    """
    given = Given.of_hydra(config, hydra)
    config, is_open = with_plan(config, given, folder)
    if not is_open:
        key = hindrance(config, given)
        if key:
            log.info("sizes are as configured, since %s is set; plan=always plans the others", key)
        return kind.parse(config)
    result = make(kind, config, given)
    path = (folder or Path()) / PLAN_FILE
    if folder is not None and is_first_process():
        edited = override("plan", path)
        write_text(path, result.text(f"Planned for this run; edit a copy and give it: {edited}"))
    patches, trainer = result.run.patches, result.run.trainer
    log.info(
        "planned: voxels of %s mm, patches of %s voxels, %d a step, %d steps%s",
        shown(result.plan.sources[0].cohort.voxel_size or ()),
        list(patches.size),
        patches.batch_size,
        patches.steps_per_epoch * (trainer.max_epochs or 0),
        "" if folder is None else f"; {path} says why",
    )
    if folder is not None and is_first_process():
        log.info("expected: %s", expected(result.run, result.plan))
    return result.run


def _yaml(value: Any) -> str:
    """Format a value as YAML: mappings in several lines, everything else in one line."""
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            if isinstance(item, dict):
                lines += [f"{key}:", *(f"  {line}" for line in _yaml(item).splitlines())]
            else:
                lines.append(f"{key}: {_yaml(item)}")
        return "\n".join(lines)
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
