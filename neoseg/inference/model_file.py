"""One file to hand over: weights, what they mean, card and licence; no pickle and no code.

It is a safetensors file, so that other programs read the weights, too, nothing in it is packed, and
its head alone tells all but the weights. Those of member n are called `n.` and as in its network;
the text `neoseg` of the file's metadata is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from neoseg.files import replacing
from neoseg.findings.settings import ConfigError
from neoseg.foreign import ForeignError
from neoseg.foreign.files import opened
from neoseg.foreign.packed import LARGEST_CHECKPOINT
from neoseg.foreign.values import json_of, require_values, value_at

ENDING = ".neoseg"
KEY, VERSION = "neoseg", 1
_LARGEST_HEAD = 2**24


@dataclass(frozen=True)
class Member:
    """A network as it stands in the file.

    Attributes:
        name: of its run.
        predicts: which network of the run it is, "student", "teacher" or "peer".
        spec: a `ModelSpec` as plain containers.
        desc, space: of the images that the run was trained on, None where nothing is known.
        card: of the run, None where it has none.
    """

    name: str
    predicts: str
    spec: dict[str, Any]
    desc: str | None = None
    space: str | None = None
    card: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ModelFile:
    """What a file tells beside the weights.

    `calibrations`, by the digest of their settings, are whatever `neoseg.trust` has written.
    """

    members: tuple[Member, ...]
    licence: str | None
    calibrations: Mapping[str, Any] = field(default_factory=dict)


def write_model(
    path: Path,
    members: Sequence[Member],
    weights: Sequence[Mapping[str, Tensor]],
    licence: str | None = None,
    calibrations: Mapping[str, Any] | None = None,
) -> None:
    """Write networks with their weights into one file, whole or not at all.

    Raises:
        ConfigError: a file that cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    head = {
        "version": VERSION,
        "licence": licence,
        "members": [asdict(member) for member in members],
        "calibrations": dict(calibrations or {}),
    }
    tensors = {
        f"{number}.{name}": value.detach().cpu().clone().contiguous()  # shared ones are refused
        for number, values in enumerate(weights)
        for name, value in values.items()
    }
    text = json.dumps(head, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, {KEY: text})
        except SafetensorError as error:
            raise ConfigError(f"{path} cannot be written: {error}") from None


def read_model(path: Path) -> tuple[ModelFile, list[dict[str, Tensor]]]:
    """Return what a file tells, and the weights of each member.

    Raises:
        ConfigError: a file that is damaged, not of `write_model`, or not of its kind of content.
    """
    from safetensors.torch import load

    try:
        with opened(path, LARGEST_CHECKPOINT) as stream:
            told = _head(path, stream.read(8), stream.read(_LARGEST_HEAD))
            stream.seek(0)
            tensors = load(stream.read())
    except ForeignError as error:
        raise ConfigError(f"{error}; nothing in it was used") from None
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise ConfigError(f"{path} cannot be loaded, it may be damaged: {error}") from None
    weights: list[dict[str, Tensor]] = [{} for _ in told.members]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal() or not number.isascii() or int(number) >= len(weights):
            raise ConfigError(f"{path} has weights '{key}' of a network that it does not describe")
        weights[int(number)][name] = value
    return told, weights


def read_head(path: Path) -> ModelFile:
    """Return what a file tells, without its weights; raises `ConfigError`."""
    try:
        with opened(path, LARGEST_CHECKPOINT) as stream:
            return _head(path, stream.read(8), stream.read(_LARGEST_HEAD))
    except ForeignError as error:
        raise ConfigError(f"{error}; nothing in it was used") from None


def _head(path: Path, size: bytes, start: bytes) -> ModelFile:
    """Read the JSON at the start of a file, once its length is seen to be sane."""
    what = f"{path} is not a model that `neoseg export` has written"
    length = int.from_bytes(size, "little")
    if len(size) < 8 or not start.startswith(b"{") or length > len(start):
        raise ForeignError(f"{what}, or it is cut off")
    try:
        text = value_at(json_of(start[:length].decode(), str(path)), f"__metadata__.{KEY}")
    except UnicodeDecodeError as error:
        raise ForeignError(f"{what}: {error}") from None
    if not isinstance(text, str):
        raise ForeignError(f"{what}: it holds weights alone")
    head = json_of(text, str(path))
    if value_at(head, "version") != VERSION:
        raise ForeignError(
            f"{path} is of version {value_at(head, 'version')!r}, and {VERSION} is known here; "
            "a later neoseg has written it"
        )
    members, licence = value_at(head, "members"), value_at(head, "licence")
    calibrations = value_at(head, "calibrations", {})  # files of earlier versions have none
    if not isinstance(members, list) or not members or not isinstance(licence, str | None):
        raise ForeignError(f"{what}: it describes no network")
    if not isinstance(calibrations, dict):
        raise ForeignError(f"{what}: its calibrations are none")
    return ModelFile(tuple(_member(path, raw) for raw in members), licence, calibrations)


def _member(path: Path, raw: Any) -> Member:
    kinds = {"name": str, "predicts": str, "spec": dict}
    kinds |= {"desc": str | None, "space": str | None, "card": dict | None}  # type: ignore[dict-item]
    known = {item.name for item in fields(Member)}
    if not isinstance(raw, dict) or set(raw) != known:
        raise ForeignError(f"{path} describes a network without {', '.join(sorted(known))}")
    for key, kind in kinds.items():
        if not isinstance(raw[key], kind):
            raise ForeignError(f"{path} has {raw[key]!r:.60} as {key} of a network")
    require_values(raw["spec"], f"{path}, spec")
    return Member(**raw)
