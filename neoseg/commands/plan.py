"""Planning a training: what fits the data and the machine, why, and what it will cost."""

from __future__ import annotations

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import field_validator

from neoseg.configuration.outputs import OutputFile
from neoseg.configuration.planned import Given, provisional
from neoseg.configuration.run import RunConfig
from neoseg.digests import digest_of_content
from neoseg.files import write_text
from neoseg.findings.command_line import override
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_text
from neoseg.planning.cost import expected
from neoseg.planning.make import make

log = logging.getLogger(__name__)

SEAL = "# As written: "


class PlanConfig(RunConfig):
    """What `conf/plan.yaml` holds: a training, and where its plan is written."""

    output: OutputFile
    overwrite: bool = False

    @field_validator("output")
    @classmethod
    def _output_is_yaml(cls, output: Path) -> Path:
        if output.suffix.lower() not in (".yaml", ".yml"):
            raise ConfigError(f"output is {output}, expected a file that ends in .yaml")
        return output


def _sealed(text: str) -> str:
    """Return a text with a last line that tells whether it was edited."""
    return f"{text.rstrip()}\n{SEAL}{digest_of_content(text.rstrip())}\n"


def _is_sealed(text: str) -> bool:
    before, seal, _ = text.rpartition(SEAL)
    return bool(seal) and _sealed(before) == text


def main(config: DictConfig) -> None:
    """Decide what nobody has set, write it with the reasons, and tell what the training costs."""
    place = Path(str(config.output)).expanduser()
    if place.is_file() and not config.overwrite and not _is_sealed(read_text(place)):
        raise ConfigError(
            f"{place} is there already and somebody has edited it; name another file as output, or "
            "set overwrite=true"
        )
    given = Given.of_hydra(config, HydraConfig.get())
    made = make(PlanConfig, provisional(config, given), given)
    output = made.run.output
    line = override("plan", output)
    title = f"Decided by neoseg.plan; edit it, and give it to neoseg.train: {line}"
    write_text(output, _sealed(made.text(title)))
    for decision in made.decisions:
        if decision.key != "network":
            log.info("%s=%s: %s", decision.key, decision.value, decision.reason)
    log.info("network: %s", next((d.reason for d in made.decisions if d.key == "network"), "given"))
    log.info("expected: %s", expected(made.run, made.plan))
    log.info("plan: %s; train with the same keys and %s", output, line)
