"""Which of several files of a BIDS session is taken, by the parts of their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neoseg.cohort.folders import SessionFolder
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problems

Entities = Mapping[str, str | int | None]
"""Parts of a name by their keys, as in `{run: 1, space: None}`; None is "without"."""

_APART = ("desc", "space")
"""Keys that tell how a file was made of the measurement that the other ones name."""


def entities_of(name: str) -> dict[str, str]:
    """Return the parts `key-value` of a name without extension; run-01 is run-1."""
    parts = (part.partition("-") for part in name.split("_"))
    return {key: _plain(key, value) for key, dash, value in parts if dash}


def with_suffix(names: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """Return the names, sorted, that end in one of the suffixes."""
    return [name for name in sorted(names) if name.split("_")[-1] in suffixes]


@dataclass(frozen=True)
class Wish:
    """Which files a user wants: `what` is "image", "label" or "mask", as the options begin."""

    what: str
    desc: str | None = None
    entities: Entities = field(default_factory=dict)

    def __str__(self) -> str:
        wanted = {"desc": self.desc, **self.entities}
        given = {key: value for key, value in wanted.items() if (key, value) != ("desc", None)}
        texts = (f"no {key}-" if v is None else f"{key}-{v}" for key, v in given.items())
        return " and ".join(texts)

    def among(self, names: Sequence[str]) -> list[str]:
        """Return the names that fit; those that lack a part only where none has it as wanted."""
        found = [name for name in names if entities_of(name).get("desc") == self.desc]
        found = found or (list(names) if self.desc is None else [])
        for key, value in self.entities.items():
            wanted = None if value is None else _plain(key, str(value))
            fitting = [name for name in found if entities_of(name).get(key) == wanted]
            found = fitting or [name for name in found if key not in entities_of(name)]
        return found


class Picker:
    """Picks files of sessions and remembers where several would do."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.several: dict[tuple[str, tuple[str, ...]], list[SessionFolder]] = {}

    def first(self, item: SessionFolder, suffix: str, wish: Wish) -> tuple[str | None, Path | None]:
        """Return name and path of the image that a session is about, the native one of several."""
        names = wish.among(with_suffix(item.files, [suffix]))
        native = [name for name in names if "space" not in entities_of(name)]
        names = (native or names) if "space" not in wish.entities else names
        return (names[0] if names else None), self._taken(item, names, wish)

    def follow(
        self, item: SessionFolder, suffixes: Sequence[str], wish: Wish, image: str
    ) -> Path | None:
        """Return the file that belongs to an image: of the same run, and in its space."""
        modality, own = image.split("_")[-1], entities_of(image)
        spaces = [own.get("space"), modality]
        if wish.what == "image":
            spaces = [modality, *spaces]  # as another modality lies elsewhere before it is moved
        own = {key: value for key, value in own.items() if key not in _APART}

        def distance(name: str) -> tuple[int, ...]:
            parts = entities_of(name)
            space = parts.get("space")
            parts = {key: value for key, value in parts.items() if key not in _APART}
            return (
                sum(parts.get(key, value) != value for key, value in own.items()),
                spaces.index(space) if space in spaces else len(spaces),
                len(own.keys() ^ parts.keys()),
            )

        names = [
            name
            for name in wish.among(with_suffix(item.files, suffixes))
            if "run" not in own or entities_of(name).get("run", own["run"]) == own["run"]
        ]
        least = min(map(distance, names), default=None)
        return self._taken(item, [name for name in names if distance(name) == least], wish)

    def _taken(self, item: SessionFolder, names: Sequence[str], wish: Wish) -> Path | None:
        if len(names) > 1:
            self.several.setdefault((wish.what, tuple(names)), []).append(item)
        return item.usable(names[0], self.problems) if names else None

    def report(self) -> None:
        """Note each kind of ambiguity once."""
        for (what, names), items in self.several.items():
            self.problems.error(
                items[0].path,
                f"has several files that would do: {', '.join(names)} "
                f"({len(items)} sessions are like this)",
                "one file for each session",
                _how_to_choose(what, names),
                "several-files",
                [item.id for item in items],
            )


def _how_to_choose(what: str, names: Sequence[str]) -> str:
    """Return the keys by which names that would do can be told apart."""
    parts = [entities_of(name) for name in names]
    lines = []
    for key in dict.fromkeys(key for own in parts for key in own):
        values = sorted({own.get(key, "") for own in parts})
        if len(values) > 1 and key == "desc":
            texts = [override(f"cohort.{what}_desc", v) for v in values]
            lines.append(f"set {' or '.join(texts)}")
        elif len(values) > 1:
            key_of = f"cohort.{what}_entities"
            texts = [override(key_of, f"{{{key}: {v or 'null'}}}") for v in values]
            lines.append(f"set {' or '.join(texts)}")
    return "; ".join(lines) or "move the ones that are not wanted out of the folder"


def _plain(key: str, value: str) -> str:
    number = key == "run" and value.isascii() and value.isdecimal()
    return str(int(value)) if number else value
