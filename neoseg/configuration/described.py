"""What the files of `conf/` say about themselves: keys, their values and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from neoseg.configuration.nodes import CONFIG_DIR, option_nodes, options

_NOT_KEYS = ("defaults", "hydra")
_GLOBAL = "# @package _global_"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
_PRIVATE = {
    "_target_": "what is called or built with the keys beside it",
    "_partial_": "true: built later, with further arguments",
}


@dataclass(frozen=True)
class Setting:
    """A key as a file of `conf/` has it.

    Attributes:
        value: in the file, with what is below it.
        comment: behind the value, or on the lines above the key.
        file: such as "patches/gpu.yaml"; "" where it comes from the source of a loss or reader.
    """

    value: Any
    comment: str
    file: str


@cache
def settings_of(file: str) -> Mapping[str, Setting]:
    """Return every dotted key of a file of `conf/`, with those of the files it starts from."""
    text = (CONFIG_DIR / file).read_text(encoding="utf-8")
    content = yaml.load(text, Loader=_LOADER) or {}
    found: dict[str, Setting] = {}
    for entry in content.get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            found |= settings_of(str(Path(file).with_name(f"{entry}.yaml")))
    package = "" if text.startswith(_GLOBAL) or "/" not in file else f"{Path(file).parent}."
    root = yaml.compose(text, Loader=_LOADER)
    for key, value, comment in _commented(root, text.splitlines()):
        before = found.get(f"{package}{key}")
        comment = comment or (before.comment if before is not None else "")
        found[f"{package}{key}"] = Setting(value, comment, file)
    return found


def settings_of_option(group: str, option: str) -> Mapping[str, Setting]:
    """Return the keys that an option of a group adds, those of losses and readers included."""
    file = f"{group}/{option}.yaml"
    if (CONFIG_DIR / file).is_file():
        return settings_of(file)
    return {
        f"{group}.{key}": Setting(value, "", "")
        for key, value in flat(option_nodes(group).get(option, {}))
    }


@cache
def about(group: str, option: str) -> str:
    """Return the first sentence above an option, "" where it says nothing."""
    path = CONFIG_DIR / group / f"{option}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    head = [line.removeprefix("#").strip() for line in lines[: _head_length(lines)]]
    text = " ".join(line for line in head if not line.startswith("@package"))
    return re.split(r"(?<=[\w)]\.)\s+(?=[A-Z])", text, maxsplit=1)[0]


@cache
def choices_of(command: str) -> Mapping[str, Any]:
    """Return the groups of a command, each with the option (a list for several) it begins with."""
    file = CONFIG_DIR / f"{command}.yaml"
    found: dict[str, Any] = {}
    for entry in yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", ()):
        if isinstance(entry, dict):
            found |= {k: v for k, v in entry.items() if not k.startswith("override ")}
        elif entry != "_self_":
            found |= choices_of(entry)
    return found


def composed_commands() -> list[str]:
    """Return the commands that have a configuration, `train` before what is like it."""
    return sorted((p.stem for p in CONFIG_DIR.glob("*.yaml")), key=lambda n: (n != "train", n))


def groups() -> list[str]:
    """Return the groups of `conf/`."""
    return sorted(path.name for path in CONFIG_DIR.iterdir() if path.is_dir())


@cache
def keys_of(command: str) -> Mapping[str, Mapping[str, Setting]]:
    """Return each key of a command: how each option that has it (`group=option`) states it.

    What the file of the command itself states stands under "".
    """
    found: dict[str, dict[str, Setting]] = {}
    for key, setting in settings_of(f"{command}.yaml").items():
        found.setdefault(key, {})[""] = setting
    for group in choices_of(command):
        for option in options(group):
            for key, setting in settings_of_option(group, option).items():
                found.setdefault(key, {})[f"{group}={option}"] = setting
    return found


def comments_of(command: str, chosen: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the comment of each key, "" where nothing is said of it.

    It is that of the option that is chosen (or begins) in its group, else of any that has one.
    """
    chosen = choices_of(command) if chosen is None else chosen
    found: dict[str, str] = {}
    for key, places in keys_of(command).items():
        group = key.partition(".")[0]
        own = places.get(f"{group}={chosen.get(group)}")
        comments = [place.comment for place in (own, *places.values()) if place is not None]
        comments.append(_PRIVATE.get(key.rpartition(".")[2], ""))
        found[key] = next(filter(None, comments), "")
    return found


def known_words(command: str) -> set[str]:
    """Return the first words that keys of a command can have."""
    return {key.partition(".")[0] for key in settings_of(f"{command}.yaml")} | set(groups())


def _commented(
    node: yaml.Node | None, lines: list[str], prefix: str = ""
) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if (not prefix and key.value in _NOT_KEYS) or key.tag != "tag:yaml.org,2002:str":
            continue  # a number is the value of a label file
        mark = value.end_mark
        if isinstance(value, yaml.CollectionNode) and not value.flow_style:
            mark = key.end_mark
        behind = re.match(r"[:\s]*#\s*(.*)", lines[mark.line][mark.column :])
        comments = [*_above(key.start_mark.line, lines), *([behind[1]] if behind else [])]
        plain = SafeConstructor().construct_document(value)
        yield f"{prefix}{key.value}", plain, "; ".join(comments)
        yield from _commented(value, lines, f"{prefix}{key.value}.")


def _above(line: int, lines: list[str]) -> list[str]:
    """Return the comment on the lines above a key, without the head of the file."""
    first = line
    while first > _head_length(lines) and lines[first - 1].strip().startswith("#"):
        first -= 1
    return [text.strip().lstrip("# ") for text in lines[first:line]]


def _head_length(lines: list[str]) -> int:
    return next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key of nested mappings, those of mappings too, with its value."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}", value
        yield from flat(value, f"{prefix}{key}.")
