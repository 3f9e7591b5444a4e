"""Pages of reference: commands, keys and losses as the code and conf/ tell them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

from neoseg.__main__ import commands
from neoseg.configuration.described import (
    about,
    choices_of,
    comments_of,
    composed_commands,
    groups,
    keys_of,
)
from neoseg.configuration.help import PRESETS, shown
from neoseg.configuration.nodes import options
from neoseg.losses.build import describe
from neoseg.losses.registry import find_term, names

ROOT = Path(__file__).resolve().parents[2]


def cell(text: str) -> str:
    """Return a text as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> str:
    """Return every command with its line, and the groups and keys of those that have some."""
    lines = [
        "# Commands\n",
        "`neoseg COMMAND` is `python -m neoseg.COMMAND`. `--help` says what one takes,",
        "`neoseg explain KEY` what a key is.\n",
        "| command | what it does |\n| --- | --- |",
    ]
    lines += [f"| `{name}` | {cell(line)} |" for name, line in commands().items()]
    for command in composed_commands():
        if command == "train" or command not in commands():
            continue
        lines += [f"\n## {command}\n", *keys_table(command)]
    lines.append("\nThe keys of `train` have [a page of their own](keys.md).")
    return "\n".join(lines)


def keys_table(command: str, group: str | None = None) -> Iterator[str]:
    """Yield the rows of a table: the keys of a command, of one group or of its own file."""
    comments = comments_of(command)
    begins = choices_of(command).get(group or "")
    yield "| key | default | meaning |\n| --- | --- | --- |"
    for key, places in keys_of(command).items():
        first = key.partition(".")[0]
        if (first if first in groups() else None) != group:
            continue
        place = next((p for p in (f"{group}={begins}", "") if p in places), next(iter(places)))
        value = places[place].value
        if isinstance(value, dict) and value:
            continue
        yield f"| `{key}` | `{cell(shown(value))}` | {cell(comments.get(key, ''))} |"


def keys_page() -> str:
    """Return the groups of `train` with their options, and their keys."""
    lines = [
        "# Keys of a training\n",
        "Made from `conf/`. `KEY=VALUE` overrides one, `GROUP=OPTION` a file of `conf/GROUP`;",
        "`+experiment=…` and `+ablation=…` set several keys at once.\n",
        "## Of the run itself\n",
        *keys_table("train"),
    ]
    chosen = choices_of("train")
    for group in groups():
        lines += [f"\n## {group}\n", "| option | what it is |\n| --- | --- |"]
        plus = "+" if group in PRESETS else ""
        for option in options(group):
            begins = chosen.get(group)
            start = option in begins if isinstance(begins, list) else option == begins
            note = " (without a choice)" if start else ""
            lines.append(f"| `{plus}{group}={option}`{note} | {cell(about(group, option))} |")
        if group not in PRESETS and group != "loss":
            lines += ["", *keys_table("train", group)]
    return "\n".join(lines)


def losses_page() -> str:
    """Return each loss term: what it computes, on which heads, its keys."""
    lines = [
        "# Losses\n",
        "`'loss=[a,b]'` sums terms; `loss.NAME.weight` weighs one. From the classes: K leaves, C",
        "classes, B items, S voxels; y a class's probability, p a leaf's.\n",
    ]
    for name in names():
        (term,) = describe(name)
        needs = [f"needs {what}" for what in term.needs]
        heads = " or ".join(term.heads)
        partial = "" if term.accepts_partial else "; partial labels are left out"
        lines += [f"\n## {name}\n", f"Head: {heads}{partial}{''.join(f'; {n}' for n in needs)}.\n"]
        text = inspect.getdoc(find_term(name)) or term.summary
        lines += ["```text", text, "```", ""]
        if term.settings:
            lines.append("| key | default | meaning |\n| --- | --- | --- |")
        for key, value in term.settings.items():
            note = cell(term.notes[key] or "")
            lines.append(f"| `loss.{name}.{key}` | `{cell(shown(value))}` | {note} |")
    return "\n".join(lines)


def changes_page() -> str:
    """Return the changelog."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/keys.md": keys_page,
    "reference/losses.md": losses_page,
    "changes.md": changes_page,
}
