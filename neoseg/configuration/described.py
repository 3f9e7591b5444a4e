"""Read the keys, values and comments of the files of `conf/`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from neoseg.configuration.nodes import CONFIG_DIR, option_nodes, options
from neoseg.foreign.values import SAFE_LOADER

_NOT_KEYS = ("defaults", "hydra")
_GLOBAL = "# @package _global_"
_PRIVATE = {
    "_target_": "what is called or built with the keys beside it",
    "_partial_": "true: built later, with further arguments",
}


@dataclass(frozen=True)
class Setting:
    """A key as defined by a file of `conf/`.

    Attributes:
        value: its value, including nested keys.
        comment: from the same line, or from the lines above the key.
        file: such as "patches/gpu.yaml"; "" if the key comes from the source of a loss or reader.
    """

    value: Any
    comment: str
    file: str


@cache
def settings_of(file: str) -> Mapping[str, Setting]:
    """Return all settings of a file of `conf/` by dotted key, including those of its defaults."""
    text = (CONFIG_DIR / file).read_text(encoding="utf-8")
    content = yaml.load(text, Loader=SAFE_LOADER) or {}
    settings: dict[str, Setting] = {}
    for entry in content.get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            settings |= settings_of(str(Path(file).with_name(f"{entry}.yaml")))
    package = "" if text.startswith(_GLOBAL) or "/" not in file else f"{Path(file).parent}."
    root = yaml.compose(text, Loader=SAFE_LOADER)
    for key, value, comment in _commented(root, text.splitlines()):
        inherited = settings.get(f"{package}{key}")
        comment = comment or (inherited.comment if inherited is not None else "")
        settings[f"{package}{key}"] = Setting(value, comment, file)
    return settings


def settings_of_option(group: str, option: str) -> Mapping[str, Setting]:
    """Return the settings of an option by dotted key; it may be a loss or reader without a file."""
    file = f"{group}/{option}.yaml"
    if (CONFIG_DIR / file).is_file():
        return settings_of(file)
    return {
        f"{group}.{key}": Setting(value, "", "")
        for key, value in flat(option_nodes(group).get(option, {}))
    }


@cache
def about(group: str, option: str) -> str:
    """Return the first sentence of the comment at the top of an option's file, or ""."""
    path = CONFIG_DIR / group / f"{option}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    header = [line.removeprefix("#").strip() for line in lines[: _head_length(lines)]]
    text = " ".join(line for line in header if not line.startswith("@package"))
    return re.split(r"(?<=[\w)]\.)\s+(?=[A-Z])", text, maxsplit=1)[0]


@cache
def choices_of(command: str) -> Mapping[str, Any]:
    """Return the groups of a command with their default options (a list if there are several)."""
    file = CONFIG_DIR / f"{command}.yaml"
    choices: dict[str, Any] = {}
    for entry in yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", ()):
        if isinstance(entry, dict):
            choices |= {k: v for k, v in entry.items() if not k.startswith("override ")}
        elif entry != "_self_":
            choices |= choices_of(entry)
    return choices


def composed_commands() -> list[str]:
    """Return the commands that have a configuration, `train` first."""
    return sorted((p.stem for p in CONFIG_DIR.glob("*.yaml")), key=lambda n: (n != "train", n))


def groups() -> list[str]:
    """Return the groups of `conf/`."""
    return sorted(path.name for path in CONFIG_DIR.iterdir() if path.is_dir())


@cache
def keys_of(command: str) -> Mapping[str, Mapping[str, Setting]]:
    """Return for each key of a command its setting in each option (`group=option`) that has it.

    The setting of the command's own file has the key "".
    """
    settings: dict[str, dict[str, Setting]] = {}
    for key, setting in settings_of(f"{command}.yaml").items():
        settings.setdefault(key, {})[""] = setting
    for group in choices_of(command):
        for option in options(group):
            for key, setting in settings_of_option(group, option).items():
                settings.setdefault(key, {})[f"{group}={option}"] = setting
    return settings


def comments_of(command: str, chosen: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the comment of each key, "" if it has none.

    The option that is chosen (by default, the default option) is preferred; otherwise the comment
    of any option that has one is used.
    """
    chosen = choices_of(command) if chosen is None else chosen
    result: dict[str, str] = {}
    for key, places in keys_of(command).items():
        group = key.partition(".")[0]
        chosen_setting = places.get(f"{group}={chosen.get(group)}")
        comments = [
            setting.comment for setting in (chosen_setting, *places.values()) if setting is not None
        ]
        comments.append(_PRIVATE.get(key.rpartition(".")[2], ""))
        result[key] = next(filter(None, comments), "")
    return result


def known_words(command: str) -> set[str]:
    """Return the valid first parts of the dotted keys of a command."""
    return {key.partition(".")[0] for key in settings_of(f"{command}.yaml")} | set(groups())


def _commented(
    node: yaml.Node | None, lines: list[str], prefix: str = ""
) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if (not prefix and key.value in _NOT_KEYS) or key.tag != "tag:yaml.org,2002:str":
            continue  # an integer key is a value of a label file
        end = value.end_mark
        if isinstance(value, yaml.CollectionNode) and not value.flow_style:
            end = key.end_mark
        trailing = re.match(r"[:\s]*#\s*(.*)", lines[end.line][end.column :])
        comments = [*_above(key.start_mark.line, lines), *([trailing[1]] if trailing else [])]
        plain = SafeConstructor().construct_document(value)
        yield f"{prefix}{key.value}", plain, "; ".join(comments)
        yield from _commented(value, lines, f"{prefix}{key.value}.")


def _above(line: int, lines: list[str]) -> list[str]:
    """Return the comment lines above a key, without the header of the file."""
    first = line
    while first > _head_length(lines) and lines[first - 1].strip().startswith("#"):
        first -= 1
    return [text.strip().lstrip("# ") for text in lines[first:line]]


def _head_length(lines: list[str]) -> int:
    return next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted key of nested mappings with its value, inner mappings included."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}", value
        yield from flat(value, f"{prefix}{key}.")
