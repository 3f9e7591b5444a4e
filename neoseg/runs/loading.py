"""Opening a finished run: its configuration and its network, as data only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pydantic import ValidationError

from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError, read_config
from neoseg.inference import Ensemble, Segmenter, WindowSettings, mirror_partners
from neoseg.runs.folder import CONFIG, RECORD
from neoseg.store import PrepareSettings
from neoseg.training import SegmentationModule
from neoseg.training.callbacks import BEST, CHECKPOINTS, LAST
from neoseg.training.checkpoint import CheckpointError, read_checkpoint

log = logging.getLogger(__name__)


def load_config(run: Path) -> DictConfig:
    """Return `config.yaml` of a run folder; raises `ConfigError` where there is no sound one."""
    path = run / CONFIG
    if not path.is_file():
        raise ConfigError(f"{run} is not a run folder: it has no config.yaml")
    try:
        return read_config(path)
    except ForeignError as error:
        raise ConfigError(str(error)) from None


def warn_of_unfinished(runs: Sequence[Path]) -> None:
    """Log runs that have not come to their end, whose networks can be had all the same."""
    for run in runs:
        if (run / CONFIG).is_file() and not (run / RECORD).is_file():
            log.warning("%s has not ended: its network is that of its last checkpoint", run)


def load_module(
    run: Path, device: str = "auto", predict_with: str | None = None
) -> SegmentationModule:
    """Load the network of a run for prediction: the best where the run kept it, else the last.

    Nothing in the file is executed: it is read with `weights_only=True`.

    Args:
        run: folder of the run.
        device: as torch names it, or "auto".
        predict_with: "student", "teacher" or "peer"; None as the run itself.

    Raises:
        ConfigError: no checkpoint, a damaged one, one that holds more than data, or one without
            the network that is to predict.
    """
    path = predicting_checkpoint(run)
    if not path.is_file():
        raise ConfigError(f"{run} has no {CHECKPOINTS}/{LAST}; name the folder of a trained run")
    module = restored(path, predict_with)
    module.eval()
    return module.to(choose_device(device))


def predicting_checkpoint(run: Path) -> Path:
    """Return the checkpoint with which a run predicts, which need not be there yet."""
    best = run / CHECKPOINTS / BEST
    return best if best.is_file() else run / CHECKPOINTS / LAST


def restored(path: Path, predict_with: str | None = None) -> SegmentationModule:
    """Return the network of a checkpoint on the CPU, in training mode; raises `ConfigError`."""
    changes: dict[str, Any] = {} if predict_with is None else {"predict_with": predict_with}
    try:
        content = read_checkpoint(path)
        # Not by Lightning's own loader: names in a checkpoint would tell it what to import.
        module = SegmentationModule(**{**content["hyper_parameters"], **changes})
        module.load_state_dict(content["state_dict"])
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from None
    return module


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


def segmenter_of(module: SegmentationModule, **window: Any) -> Segmenter:
    """Return what segments scans as the module's run does, with changed window settings.

    Raises:
        ConfigError: settings that are wrong in themselves, or that the network cannot take.
    """
    changed = {key: value for key, value in window.items() if value is not None}
    try:
        settings = WindowSettings(**{**module.window.model_dump(), **changed})
        if settings.mirror:
            mirror_partners(module.head, settings.patch_size)
    except ValidationError as error:
        lines = [f"  window.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("window is not valid:\n" + "\n".join(lines)) from None
    except ValueError as error:
        raise ConfigError(f"window.mirror: {error}") from None
    _check_patch(module, settings.patch_size)
    prepare = PrepareSettings(**module.hparams["prepare"])
    missing = module.missing_modality
    return Segmenter(module.predictor, module.head, settings, prepare, module.device, missing)


def _check_patch(module: SegmentationModule, size: Sequence[int]) -> None:
    """Raise `ConfigError` for a window that the network cannot take."""
    trained, divisor = module.window.patch_size, module.hparams["network"].get("divisor", 1)
    flat = [axis for axis in range(3) if (size[axis] == 1) != (trained[axis] == 1)]
    wrong = [axis for axis in range(3) if trained[axis] > 1 and size[axis] % divisor]
    if flat or wrong:
        raise ConfigError(
            f"window.patch_size is {list(size)}; the network was trained on {list(trained)} and "
            f"takes multiples of {divisor} along each axis that is not 1 there, and 1 along one "
            "that is"
        )


def load_predictor(
    runs: Sequence[Path], device: str, predict_with: str | None, **window: Any
) -> tuple[Segmenter | Ensemble, list[str]]:
    """Load what segments scans with one run, or with several together; and their modalities.

    Of each run only the network that predicts stays in memory.

    Raises:
        ConfigError: runs that cannot be loaded, or that have different label tables or modalities.
    """
    members: dict[str, Segmenter] = {}
    modalities: dict[str, list[str]] = {}
    for run in runs:
        module = load_module(run, device, predict_with)
        members[str(run)] = segmenter_of(module, **window)
        modalities[str(run)] = list(module.hparams["modalities"])
    if len(members) < len(runs):
        raise ConfigError(f"run names a folder twice: {', '.join(map(str, runs))}")
    (name, first), *others = modalities.items()
    for other, found in others:
        if found != first:
            raise ConfigError(
                f"the runs of an ensemble must read the same images: {name} was trained on "
                f"{first}, {other} on {found}"
            )
    if not others:
        return members[name], first
    try:
        return Ensemble(members), first
    except ValueError as error:
        raise ConfigError(str(error)) from None
