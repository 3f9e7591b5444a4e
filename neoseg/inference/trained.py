"""Opening the network of a run for prediction: without its losses, and as data only."""

from __future__ import annotations

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
    CheckpointError,
    predicting_checkpoint,
    read_checkpoint,
)
from neoseg.inference.model import ModelSpec, chosen
from neoseg.inference.model_file import read_model
from neoseg.networks import weighing

OF_TRAINING = frozenset({"loss", "optimizer", "teacher", "compile", "channels_last", "init"})
"""What a checkpoint tells beside the model, which no prediction needs."""

PREFIXES = {"student": "network.", "teacher": "teacher.average.module.", "peer": "peer."}
"""Of the weights of each network in a checkpoint."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The network with which a run predicts, in evaluation mode, and what it reads and means.

    `predicts` names it among those of its run.
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
        """Load the network of a run: the best where the run kept it, else the last.

        Nothing in the file is executed: it is read with `weights_only=True`.

        Args:
            run: folder of the run.
            device: as torch names it, or "auto".
            predict_with: "student", "teacher" or "peer"; None as the run itself.
            allow: packages beside the known ones whose networks may be built.

        Raises:
            ConfigError: no checkpoint, a damaged one, one that holds more than data, or one
                without the network that is to predict.
        """
        path = predicting_checkpoint(run)
        if not path.is_file():
            below = sorted(map(str, Path(run).glob(f"*/{CHECKPOINTS}/{LAST}")))
            such = f", such as {Path(below[-1]).parents[1]}" if below else ""
            raise ConfigError(
                f"{run} has no {CHECKPOINTS}/{LAST}; name the folder of a trained run{such}, or a "
                "file of `neoseg export`"
            )
        try:
            content = read_checkpoint(path, within=run)
            known = content["hyper_parameters"]
            spec = ModelSpec.read({k: v for k, v in known.items() if k not in OF_TRAINING})
            weights = content["state_dict"]
            there = [
                name
                for name, prefix in PREFIXES.items()
                if any(key.startswith(prefix) for key in weights)
            ]
            name = chosen(predict_with or spec.predict_with, there)
            prefix = PREFIXES[name]
            with weighing(weights):
                network = spec.build_network(allow)
            own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            return cls.of(spec, network, own, device, name)
        except CheckpointError as error:
            raise ConfigError(str(error)) from None
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} cannot be loaded: {error}") from None

    @classmethod
    def load_file(
        cls,
        path: Path,
        device: str = "auto",
        predict_with: str | None = None,
        allow: Sequence[str] = (),
    ) -> dict[str, Self]:
        """Load the networks of a file of `neoseg export` by the name of their run.

        Raises:
            ConfigError: as `load`; and another `predict_with` than what was handed over.
        """
        told, weights = read_model(path)
        found: dict[str, Self] = {}
        for member, own in zip(told.members, weights, strict=True):
            if predict_with not in (None, "auto", member.predicts):
                raise ConfigError(
                    f"predict_with is '{predict_with}', and {path} holds the {member.predicts} of "
                    f"'{member.name}' alone; leave predict_with away, or export that one"
                )
            try:
                spec = ModelSpec.read(member.spec)
                with weighing(own):
                    network = spec.build_network(allow)
                found[member.name] = cls.of(spec, network, own, device, member.predicts)
            except (RuntimeError, KeyError, ValueError, TypeError) as error:
                raise ConfigError(f"{path} cannot be loaded: {error}") from None
        if len(found) < len(weights):
            raise ConfigError(f"{path} has two networks of one name")
        return found

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        network: nn.Module,
        weights: Mapping[str, Tensor],
        device: str,
        predicts: str,
    ) -> Self:
        """Fill a network with weights and make it ready to predict."""
        network.load_state_dict(dict(weights))
        network.requires_grad_(False)
        network.eval()
        place = choose_device(device)
        return cls(spec, network.to(place), place, predicts)


def choose_device(name: str) -> torch.device:
    """Return the device "auto" stands for, or the named one.

    Raises:
        ConfigError: no device of that name on this machine.
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
