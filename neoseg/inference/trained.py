"""Load the network of a run for prediction, as data only and without its losses."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from neoseg.findings.settings import ConfigError
from neoseg.inference.checkpoint import (
    CHECKPOINTS,
    LAST,
    loading,
    predicting_checkpoint,
    read_checkpoint,
)
from neoseg.inference.model import ModelSpec, chosen
from neoseg.inference.model_file import read_model
from neoseg.networks import weighing
from neoseg.own_code import changed_code, recorded_code

log = logging.getLogger(__name__)

OF_TRAINING = frozenset({"loss", "optimizer", "teacher", "compile", "channels_last", "init"})
"""Hyper-parameters of a checkpoint that only training needs."""

PREFIXES = {"student": "network.", "teacher": "teacher.average.module.", "peer": "peer."}
"""Prefix of the weight names of each network in a checkpoint."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The network with which a run predicts, in evaluation mode, and its specification.

    `predicts` is its role in the run: "student", "teacher" or "peer".
    """

    spec: ModelSpec
    network: nn.Module
    device: torch.device
    predicts: str = "student"

    @classmethod
    def load(
        cls,
        run: Path,
        device: str = "auto",
        predict_with: str | None = None,
        allow: Sequence[str] = (),
    ) -> Self:
        """Load the network of a run from the best checkpoint if there is one, else the last.

        Nothing in the file is executed: it is read with `weights_only=True`.

        Args:
            run: folder of the run.
            device: as torch names it, or "auto".
            predict_with: "student", "teacher" or "peer"; None: as configured in the run.
            allow: further packages whose networks may be instantiated.

        Raises:
            ConfigError: the checkpoint is missing, is damaged, holds more than data, or lacks the
                network that is to predict.
        """
        path = predicting_checkpoint(run)
        if not path.is_file():
            below = sorted(map(str, Path(run).glob(f"*/{CHECKPOINTS}/{LAST}")))
            hint = f", such as {Path(below[-1]).parents[1]}" if below else ""
            raise ConfigError(
                f"{run} has no {CHECKPOINTS}/{LAST}; name the folder of a trained run{hint}, or a "
                "file of `neoseg export`"
            )
        with loading(path):
            content = read_checkpoint(path, within=run)
            settings = content["hyper_parameters"]
            spec = ModelSpec.read({k: v for k, v in settings.items() if k not in OF_TRAINING})
            weights = content["state_dict"]
            available = [
                name
                for name, prefix in PREFIXES.items()
                if any(key.startswith(prefix) for key in weights)
            ]
            name = chosen(predict_with or spec.predict_with, available)
            prefix = PREFIXES[name]
            with weighing(weights):
                network = spec.build_network(allow)
            _warn_of_changed(recorded_code(run), allow, run)
            own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            return cls.of(spec, network, own, device, name)

    @classmethod
    def load_file(
        cls,
        path: Path,
        device: str = "auto",
        predict_with: str | None = None,
        allow: Sequence[str] = (),
    ) -> dict[str, Self]:
        """Load the networks of a file of `neoseg export`, by the name of their run.

        Raises:
            ConfigError: see `load`; or the file does not have the network of `predict_with`.
        """
        model, weights = read_model(path)
        loaded: dict[str, Self] = {}
        for member, tensors in zip(model.members, weights, strict=True):
            if predict_with not in (None, "auto", member.predicts):
                raise ConfigError(
                    f"predict_with is '{predict_with}', and {path} holds the {member.predicts} of "
                    f"'{member.name}' alone; leave predict_with away, or export that one"
                )
            with loading(path):
                spec = ModelSpec.read(member.spec)
                with weighing(tensors):
                    network = spec.build_network(allow)
                loaded[member.name] = cls.of(spec, network, tensors, device, member.predicts)
        if len(loaded) < len(weights):
            raise ConfigError(f"{path} has two networks of one name")
        _warn_of_changed(model.code, allow, path)
        return loaded

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        network: nn.Module,
        weights: Mapping[str, Tensor],
        device: str,
        predicts: str,
    ) -> Self:
        """Load weights into a network and prepare it for prediction."""
        network.load_state_dict(dict(weights))
        network.requires_grad_(False)
        network.eval()
        resolved = choose_device(device)
        return cls(spec, network.to(resolved), resolved, predicts)


def choose_device(name: str) -> torch.device:
    """Return the named device; "auto" is CUDA if available, else the CPU.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        why = str(error).partition("\n")[0]
        raise ConfigError(
            f"device is {name}, and this machine has no such device ({why}); use auto, cpu, or "
            "cuda on a machine with a GPU and a build of torch for it"
        ) from None
    return device


def _warn_of_changed(recorded: Mapping[str, str], allow: Sequence[str], source: Path) -> None:
    if modules := changed_code(recorded, allow):
        log.warning(
            "the code of %s has changed since %s was trained, and what it predicts may be another "
            "thing",
            ", ".join(modules[:5]),
            source,
        )
