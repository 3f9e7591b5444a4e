"""Model files to hand over: weights with specification, card and licence; no pickle, no code.

They are safetensors files, so other programs can read the weights, nothing is compressed, and
everything except the weights is in the header. Weights of member n have the prefix `n.` before
their name in the network; the entry `neoseg` of the file's metadata is JSON.
"""

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
from neoseg.own_code import recorded_code

ENDING = ".neoseg"
KEY, VERSION = "neoseg", 1
_LARGEST_HEAD = 2**24


@dataclass(frozen=True)
class Member:
    """A network in a model file.

    Attributes:
        name: of its run.
        predicts: which network of the run it is, "student", "teacher" or "peer".
        spec: a `ModelSpec` as plain containers.
        desc, space: of the images that the run was trained on, None if unknown.
        card: run card, None if there is none.
        entities, names: see `image_names.Naming`; absent in files of earlier versions.
    """

    name: str
    predicts: str
    spec: dict[str, Any]
    desc: str | None = None
    space: str | None = None
    card: dict[str, Any] | None = field(default=None, repr=False)
    entities: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFile:
    """Content of a model file except the weights.

    `calibrations` are written by `neoseg.trust`, keyed by the digest of their settings; `code` has
    the digests of modules of other packages with which the networks were trained.
    """

    members: tuple[Member, ...]
    licence: str | None
    calibrations: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


def write_model(
    path: Path,
    members: Sequence[Member],
    weights: Sequence[Mapping[str, Tensor]],
    licence: str | None = None,
    calibrations: Mapping[str, Any] | None = None,
    code: Mapping[str, str] | None = None,
) -> None:
    """Write networks with their weights to one file, atomically.

    Raises:
        ConfigError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save

    head = {
        "version": VERSION,
        "licence": licence,
        "members": [asdict(member) for member in members],
        "calibrations": dict(calibrations or {}),
        "code": dict(code or {}),
    }
    tensors = {
        # Cloned, as safetensors refuses tensors that share memory.
        f"{number}.{name}": value.detach().cpu().clone().contiguous()
        for number, values in enumerate(weights)
        for name, value in values.items()
    }
    text = json.dumps(head, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(save(tensors, {KEY: text}))  # save_file ignores the umask
        except SafetensorError as error:
            raise ConfigError(f"{path} cannot be written: {error}") from None


def read_model(path: Path) -> tuple[ModelFile, list[dict[str, Tensor]]]:
    """Read the content of a model file, and the weights of each member.

    Raises:
        ConfigError: the file is damaged, or is not one of `write_model`.
    """
    from safetensors.torch import load

    try:
        with opened(path, LARGEST_CHECKPOINT) as stream:
            model = _parse_head(path, stream.read(8), stream.read(_LARGEST_HEAD))
            stream.seek(0)
            tensors = load(stream.read())
    except ForeignError as error:
        raise ConfigError(f"{error}; nothing in it was used") from None
    except Exception as error:  # damaged files can raise anything
        raise ConfigError(f"{path} cannot be loaded, it may be damaged: {error}") from None
    weights: list[dict[str, Tensor]] = [{} for _ in model.members]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal() or not number.isascii() or int(number) >= len(weights):
            raise ConfigError(f"{path} has weights '{key}' of a network that it does not describe")
        weights[int(number)][name] = value
    return model, weights


def read_head(path: Path) -> ModelFile:
    """Read the content of a model file without its weights; raises `ConfigError`."""
    try:
        with opened(path, LARGEST_CHECKPOINT) as stream:
            return _parse_head(path, stream.read(8), stream.read(_LARGEST_HEAD))
    except ForeignError as error:
        raise ConfigError(f"{error}; nothing in it was used") from None


def _parse_head(path: Path, size: bytes, start: bytes) -> ModelFile:
    """Parse the JSON header at the start of a file after checking its length."""
    not_a_model = f"{path} is not a model that `neoseg export` has written"
    length = int.from_bytes(size, "little")
    if len(size) < 8 or not start.startswith(b"{") or length > len(start):
        raise ForeignError(f"{not_a_model}, or it is cut off")
    try:
        text = value_at(json_of(start[:length].decode(), str(path)), f"__metadata__.{KEY}")
    except UnicodeDecodeError as error:
        raise ForeignError(f"{not_a_model}: {error}") from None
    if not isinstance(text, str):
        raise ForeignError(f"{not_a_model}: it holds weights alone")
    content = json_of(text, str(path))
    if value_at(content, "version") != VERSION:
        raise ForeignError(
            f"{path} is of version {value_at(content, 'version')!r}, and {VERSION} is known here; "
            "a later neoseg has written it"
        )
    members, licence = value_at(content, "members"), value_at(content, "licence")
    # Absent in files of earlier versions.
    calibrations, code = value_at(content, "calibrations", {}), value_at(content, "code", {})
    if not isinstance(members, list) or not members or not isinstance(licence, str | None):
        raise ForeignError(f"{not_a_model}: it describes no network")
    if not isinstance(calibrations, dict):
        raise ForeignError(f"{not_a_model}: its calibrations are not valid")
    if not isinstance(code, dict) or not all(isinstance(text, str) for text in code.values()):
        raise ForeignError(f"{not_a_model}: its digests of code are not valid")
    parsed = tuple(_parse_member(path, raw) for raw in members)
    return ModelFile(parsed, licence, calibrations, code)


def code_of(source: Path) -> Mapping[str, str]:
    """Return the digests of other packages' modules that a run or a model file was made with."""
    return recorded_code(source) if source.is_dir() else read_head(source).code


def _parse_member(path: Path, raw: Any) -> Member:
    kinds = {"name": str, "predicts": str, "spec": dict}
    kinds |= {"desc": str | None, "space": str | None, "card": dict | None}  # type: ignore[dict-item]
    kinds |= {"entities": dict, "names": dict}
    expected = {item.name for item in fields(Member)}
    raw = {"entities": {}, "names": {}, **raw} if isinstance(raw, dict) else {}
    if set(raw) != expected:
        raise ForeignError(f"{path} describes a network without {', '.join(sorted(expected))}")
    for key, kind in kinds.items():
        if not isinstance(raw[key], kind):
            raise ForeignError(f"{path} has {raw[key]!r:.60} as {key} of a network")
    if not all(isinstance(word, str) for word in raw["names"].values()):
        raise ForeignError(f"{path} has {raw['names']!r:.60} as names of a network")
    require_values(raw["spec"], f"{path}, spec")
    return Member(**raw)
