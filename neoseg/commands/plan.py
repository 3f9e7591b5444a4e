"""Plan a training: choose settings for the data and the machine, and estimate the cost."""

import logging
from pathlib import Path
from typing import Annotated

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from neoseg.configuration.outputs import OutputFile, ending_in
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
"""Start of the last line of a plan file, followed by a digest of the lines before it."""


class PlanConfig(RunConfig):
    """Schema of `conf/plan.yaml`: a training, and the file for its plan."""

    output: Annotated[OutputFile, ending_in(".yaml", ".yml")]
    overwrite: bool = False


def _sealed(text: str) -> str:
    """Append a line with a digest of the text, by which later edits are detected."""
    return f"{text.rstrip()}\n{SEAL}{digest_of_content(text.rstrip())}\n"


def _is_sealed(text: str) -> bool:
    content, seal, _ = text.rpartition(SEAL)
    return bool(seal) and _sealed(content) == text


def main(config: DictConfig) -> None:
    """Plan the keys that are not given, write them with reasons, and log the expected cost."""
    path = Path(str(config.output)).expanduser()
    if path.is_file() and not config.overwrite and not _is_sealed(read_text(path)):
        raise ConfigError(
            f"{path} is there already and somebody has edited it; name another file as output, or "
            "set overwrite=true"
        )
    given = Given.of_hydra(config, HydraConfig.get())
    result = make(PlanConfig, provisional(config, given), given)
    output = result.run.output
    line = override("plan", output)
    title = f"Decided by neoseg.plan; edit it, and give it to neoseg.train: {line}"
    write_text(output, _sealed(result.text(title)))
    for decision in result.decisions:
        if decision.key != "network":
            log.info("%s=%s: %s", decision.key, decision.value, decision.reason)
    log.info(
        "network: %s", next((d.reason for d in result.decisions if d.key == "network"), "given")
    )
    log.info("expected: %s", expected(result.run, result.plan))
    log.info("plan: %s; train with the same keys and %s", output, line)
