"""`--help` of a command: its description, groups, and keys with their comments from `conf/`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from omegaconf import DictConfig, OmegaConf

from neoseg.borrowed import hydra_arguments
from neoseg.configuration.composed import composed
from neoseg.configuration.described import about, choices_of, comments_of, groups
from neoseg.configuration.nodes import options

PRESETS = ("experiment", "ablation", "reduced", "debug")
"""Groups without a default option that set keys of other groups, for training configurations."""

_WRAP: dict[str, Any] = {"subsequent_indent": " " * 14, "break_on_hyphens": False}


def help_text(command: str, arguments: Sequence[str]) -> str | None:
    """Return the `--help` text for the composed arguments, or None if they do not request it.

    It is also None if they do not compose, or select a configuration other than neoseg's.
    """
    parsed = hydra_arguments(arguments)
    config = composed(command, arguments) if parsed is not None and parsed.help else None
    if config is None:
        return None
    chosen = config.hydra.runtime.choices
    text = str(config.hydra.help.template)
    text = text.replace("$APP_CONFIG_GROUPS", "\n".join(_groups(command, chosen)))
    return text.replace("$CONFIG", "\n".join(_keys(config, command))).rstrip()


def _groups(command: str, chosen: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each group with its options, the chosen ones in brackets."""
    defaults = choices_of(command)
    trains = "recipe" in defaults
    yield "Groups, chosen with GROUP=OPTION; `neoseg explain GROUP` tells what each option is:\n"
    for group in groups():
        if group in defaults:
            selected = defaults[group] if isinstance(defaults[group], list) else [chosen.get(group)]
            names = [f"[{name}]" if name in selected else name for name in options(group)]
            yield fill(" ".join(names), 100, initial_indent=f"  {group:12}", **_WRAP)
        elif trains and group in PRESETS:
            yield fill(" ".join(options(group)), 100, initial_indent=f"  +{group:11}", **_WRAP)
    yield ""


def _keys(config: DictConfig, command: str) -> Iterator[str]:
    yield "Keys, set with KEY=VALUE (of a section SECTION.KEY=VALUE), and what each is now:\n"
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    chosen = config.hydra.runtime.choices
    comments = comments_of(command, chosen)
    for group in choices_of(command):  # a whole section is described in its file
        option = chosen.get(group)
        if isinstance(option, str):
            comments[group] = about(group, option) or comments.get(group, "")
    own_keys = {str(key): value for key, value in content.items() if key != "hydra"}
    yield from _lines(own_keys, comments, "", "  ")


def _lines(
    content: Mapping[str, Any], comments: Mapping[str, str], prefix: str, indent: str
) -> Iterator[str]:
    for key, value in content.items():
        comment = comments.get(f"{prefix}{key}", "")
        note = f"  # {comment}" if comment else ""
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:{note}"
            below = {str(name): item for name, item in value.items()}
            yield from _lines(below, comments, f"{prefix}{key}.", f"{indent}  ")
        else:
            yield f"{indent}{key}: {shown(value)}{note}"


def shown(value: Any) -> str:
    """Return a value on one line, as it is written on a command line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[{len(value)} entries]"
    if isinstance(value, str):
        return value
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text.replace('"', "").replace(", ", ",") if isinstance(value, list) else text
