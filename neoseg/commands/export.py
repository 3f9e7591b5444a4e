"""Export trained networks as a neoseg file, or in formats for use without neoseg."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig
from pydantic import ValidationInfo, field_validator, model_validator

from neoseg.configuration.command_config import CommandConfig, RunFolders
from neoseg.configuration.outputs import as_file, as_own_folder
from neoseg.errors import NeosegError
from neoseg.findings.privacy import Privacy
from neoseg.findings.settings import ConfigError
from neoseg.foreign.files import read_bytes, read_text
from neoseg.handover.onnx_model import OPSET, SCRIPT, script_text, write_onnx
from neoseg.handover.torch_model import write_bundle, write_program
from neoseg.inference.model_file import ENDING, Member, write_model
from neoseg.inference.trained import TrainedNetwork
from neoseg.own_code import recorded_code
from neoseg.runs.loading import naming_of, together, warn_of_unfinished
from neoseg.trust.folder import to_hand_over

log = logging.getLogger(__name__)

_ENDINGS = {"neoseg": ENDING, "onnx": ".onnx", "torch_export": ".pt2", "monai_bundle": ""}


class ExportConfig(CommandConfig):
    """Schema of `conf/export.yaml`."""

    run: RunFolders
    format: Literal["neoseg", "onnx", "torch_export", "monai_bundle"] = "neoseg"
    output: Path
    predict_with: str | None = None
    licence: str | None = None
    privacy: Privacy = "subjects"
    allow: tuple[str, ...] = ()
    overwrite: bool = False

    @field_validator("output")
    @classmethod
    def _check_output(cls, output: Path, info: ValidationInfo) -> Path:
        if "format" not in info.data:  # invalid, reported already
            return output
        ending = _ENDINGS[info.data["format"]]
        if output.suffix != ending:
            expected = f"a file that ends in {ending}" if ending else "a folder, without an ending"
            raise ConfigError(f"output is {output}, expected {expected}")
        return as_file(output) if ending else as_own_folder(output)

    @model_validator(mode="after")
    def _check_runs(self) -> ExportConfig:
        if self.format != "neoseg" and len(self.run) > 1:
            raise ConfigError(f"format={self.format} holds one network, and run names several")
        names = [run.resolve().name for run in self.run]
        if len(set(names)) < len(names):
            raise ConfigError(f"run names folders of one name: {', '.join(names)}")
        return self


def main(config: DictConfig) -> None:
    """Export the networks, and log what was written."""
    command = ExportConfig.parse(config)
    runs, output = command.run, command.output
    if output.exists() and not command.overwrite:
        raise ConfigError(f"{output} is there already; name another file, or set overwrite=true")
    script = output.with_name(SCRIPT)
    if command.format == "onnx" and not command.overwrite and _is_other(script):
        raise ConfigError(
            f"{script} is there already, and a model is written with a program of that name beside "
            "it; name a file in another folder, or set overwrite=true to replace both"
        )
    warn_of_unfinished(runs)
    licence = _licence(command.licence)
    if licence is None:
        log.warning("no licence is stated, so nobody may use the weights; give licence=NAME")
    networks = [
        TrainedNetwork.load(run, "cpu", command.predict_with, command.allow) for run in runs
    ]
    together(dict(zip(map(str, runs), networks, strict=True)))
    if command.format == "onnx":
        write_onnx(output, networks[0], {"licence": licence or "not stated"})
        line = shlex.join(["python", str(script), str(output)])
        log.info("%s (opset %d); %s OUT IMAGE", output, OPSET, line)
        return
    if command.format == "torch_export":
        write_program(output, networks[0], {"licence": licence or "not stated"})
        log.info("%s: torch.export.load reads it; it maps one window to logits", output)
        return
    if command.format == "monai_bundle":
        write_bundle(output, networks[0], licence or "not stated")
        log.info("%s; how to run it stands in %s", output, output / "docs" / "README.md")
        return
    members = [
        Member(
            run.resolve().name,
            trained.predicts,
            trained.spec.plain(),
            naming.desc,
            naming.space,
            _card(run, command.privacy),
            naming.entities,
            naming.names,
        )
        for run, trained, naming in zip(runs, networks, map(naming_of, runs), strict=True)
    ]
    weights = [trained.network.state_dict() for trained in networks]
    calibrations = to_hand_over(runs, command.predict_with)
    code: dict[str, str] = {}
    for run in runs:
        recorded = recorded_code(run)
        if other := sorted(k for k in recorded.keys() & code if recorded[k] != code[k]):
            log.warning("the runs had different code of %s", ", ".join(other))
        code |= recorded
    write_model(output, members, weights, licence, calibrations, code)
    contents = ", ".join(f"the {member.predicts} of {member.name}" for member in members)
    if calibrations:
        contents += f" with {len(calibrations)} calibrations"
    log.info("%s: %s, %.1f MB", output, contents, output.stat().st_size / 1e6)


def _is_other(script: Path) -> bool:
    """Return whether a file has another text than the program that is written beside a model."""
    return script.exists() and read_bytes(script) != script_text().encode()


def _licence(name: str | None) -> str | None:
    """Return a licence: the content of a file if `name` is its path, otherwise the name itself."""
    path = Path(name or "").expanduser()
    return read_text(path).strip() if name and path.is_file() else name


def _card(run: Path, privacy: Privacy) -> dict[str, Any] | None:
    from neoseg.evaluation.card import run_card

    try:
        return run_card(run, privacy=privacy)
    except NeosegError as error:
        log.warning("%s; the file has no card of it", error)
        return None
