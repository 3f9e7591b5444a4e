"""Select among several files of a BIDS session by the entities in their names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from neoseg.cohort.folders import SessionFolder
from neoseg.findings.command_line import override
from neoseg.findings.problems import Problems

Entities = Mapping[str, str | int | None]
"""Wanted entities of a name, as in `{run: 1, space: None}`; None means without the entity."""

_DERIVED = ("desc", "space")
"""Entities that describe how a file was derived; the others identify the measurement."""

NATIVE = ("orig", "native", "individual", "scanner")
"""Values of `space-` that mean the space of the scan itself."""


def entities_of(name: str) -> dict[str, str]:
    """Return the entities `key-value` of a name without extension; run-01 equals run-1."""
    parts = (part.partition("-") for part in name.split("_"))
    return {key: _normalized(key, value) for key, dash, value in parts if dash}


def with_suffix(names: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """Return the names with one of the suffixes, which may have entities (`ce-gd_T1w`), sorted."""
    return [
        name
        for name in sorted(names)
        if any(
            name.split("_")[-1] == suffix.split("_")[-1]
            and entities_of(suffix).items() <= entities_of(name).items()
            for suffix in suffixes
        )
    ]


def having(names: Sequence[str], entities: Entities) -> list[str]:
    """Return the names with the entities; if none has one as wanted, those without it."""
    matches = list(names)
    for key, value in entities.items():
        wanted = None if value is None else _normalized(key, str(value))
        exact = [name for name in matches if entities_of(name).get(key) == wanted]
        matches = exact or [name for name in matches if key not in entities_of(name)]
    return matches


@dataclass(frozen=True)
class Wish:
    """The files a user wants; `what` is "image", "label" or "mask", the prefix of the options."""

    what: str
    desc: str | None = None
    entities: Entities = field(default_factory=dict)

    def of(self, modality: str, modalities: Sequence[str]) -> Self:
        """Return the wish for one of several modalities: without what makes another of its kind.

        Beside `ce-gd_T1w`, T1w is without `ce-`.
        """
        kin = (m for m in modalities if m.split("_")[-1] == modality.split("_")[-1])
        others = {key: None for other in kin for key in entities_of(other)}
        return replace(self, entities={**others, **entities_of(modality), **self.entities})

    def __str__(self) -> str:
        wanted = {"desc": self.desc, **self.entities}
        criteria = {key: value for key, value in wanted.items() if (key, value) != ("desc", None)}
        terms = (f"no {key}-" if v is None else f"{key}-{v}" for key, v in criteria.items())
        return " and ".join(terms)

    def among(self, names: Sequence[str]) -> list[str]:
        """Return the matching names; if none has an entity as wanted, those without the entity."""
        matches = [name for name in names if entities_of(name).get("desc") == self.desc]
        return having(matches or (names if self.desc is None else []), self.entities)


class Picker:
    """Pick files of sessions, and collect ambiguous choices for a report."""

    def __init__(self, problems: Problems, image: Wish) -> None:
        self.problems = problems
        self.any_desc = image.desc is None and "desc" not in image.entities
        self.several: dict[tuple[str, tuple[str, ...]], list[SessionFolder]] = {}
        self.others: dict[tuple[str, str, str], list[SessionFolder]] = {}
        self.without: dict[tuple[str, str], list[SessionFolder]] = {}
        self.kinds: dict[tuple[str, str, str], dict[str, list[SessionFolder]]] = {}
        self.beside: dict[tuple[str, str, tuple[str, ...]], list[SessionFolder]] = {}

    def first(self, item: SessionFolder, suffix: str, wish: Wish) -> tuple[str | None, Path | None]:
        """Return name and path of a session's image; prefer images in native space."""
        names = wish.among(with_suffix(item.files, [suffix]))
        native = [name for name in names if "space" not in entities_of(name)]
        names = (native or names) if "space" not in wish.entities else names
        for key, value in wish.entities.items() if names else ():
            if value is not None and key != "run" and key not in entities_of(names[0]):
                self.without.setdefault((suffix, f"{key}-{value}"), []).append(item)
        return (names[0] if names else None), self._pick(item, names, wish)

    def follow(
        self, item: SessionFolder, suffixes: Sequence[str], wish: Wish, image: str
    ) -> Path | None:
        """Return the file that belongs to an image: of the same run and, if any, in its space.

        Files that name another space do not belong to it unless that is wished, nor labels and
        masks of another `acq-` or `rec-`.
        """
        modality, entities = image.split("_")[-1], entities_of(image)
        spaces = [entities.get("space"), modality]
        if wish.what == "image":
            # Another modality matches the image only after registration to it.
            spaces = [modality, *spaces]
        entities = {key: value for key, value in entities.items() if key not in _DERIVED}

        def distance(name: str) -> tuple[int, ...]:
            candidate = entities_of(name)
            space = candidate.get("space")
            candidate = {key: value for key, value in candidate.items() if key not in _DERIVED}
            return (
                sum(candidate.get(key, value) != value for key, value in entities.items()),
                spaces.index(space) if space in spaces else len(spaces),
                len(entities.keys() ^ candidate.keys()),
            )

        strict = ("run",) if wish.what == "image" else ("run", "acq", "rec")
        shared = {key: entities[key] for key in strict if key in entities}
        names = [
            name
            for name in wish.among(with_suffix(item.files, suffixes))
            if shared.items() <= (shared | entities_of(name)).items()
        ]
        if "space" not in wish.entities:
            fitting = [n for n in names if entities_of(n).get("space") in (None, *spaces, *NATIVE)]
            if names and not fitting:
                space = entities_of(names[0])["space"]
                self.others.setdefault((wish.what, space, modality), []).append(item)
            names = fitting
        least = min(map(distance, names), default=None)
        names = [name for name in names if distance(name) == least]
        desc = entities_of(names[0]).get("desc") if wish.what == "label" and names else None
        if desc and self.any_desc and "desc" not in entities_of(image):
            self._note_beside(item, "image", modality, desc)
        return self._pick(item, names, wish)

    def _pick(self, item: SessionFolder, names: Sequence[str], wish: Wish) -> Path | None:
        if len(names) > 1:
            self.several.setdefault((wish.what, tuple(names)), []).append(item)
        elif names:
            self._note_kind(item, names[0], wish)
        return item.usable(names[0], self.problems) if names else None

    def _note_kind(self, item: SessionFolder, name: str, wish: Wish) -> None:
        """Note how a file was derived where nobody asked, and label files derived otherwise."""
        entities, suffix = entities_of(name), name.split("_")[-1]
        free = ["desc"] if wish.desc is None and "desc" not in wish.entities else []
        if wish.what == "image" and "space" not in wish.entities:
            free.append("space")
        if entities.get("space") in (*NATIVE, suffix):
            del entities["space"]
        if free:
            kind = " ".join(f"{key}-{entities[key]}" for key in free if key in entities)
            kinds = self.kinds.setdefault((wish.what, suffix, str(wish)), {})
            kinds.setdefault(kind or f"no {'- or '.join(free)}-", []).append(item)
        if wish.what == "label" and free and "desc" not in entities:
            self._note_beside(item, "label", suffix)

    def _note_beside(
        self, item: SessionFolder, what: str, suffix: str, wanted: str | None = None
    ) -> None:
        """Note that a session has files with `desc-` (any, or that wanted) beside one without."""
        others = map(entities_of, with_suffix(item.files, [suffix]))
        found = {entities.get("desc") for entities in others if "space" not in entities}
        if descs := sorted(d for d in found if d is not None and wanted in (None, d)):
            self.beside.setdefault((what, suffix, tuple(descs)), []).append(item)

    def report(self) -> None:
        """Record each kind of ambiguity, and of files in another space, once."""
        for (what, space, modality), items in self.others.items():
            settings = override("cohort.image_entities", f"{{space: {space}}}")
            self.problems.warn(
                items[0].path,
                f"has a {what} in space-{space} alone, and the {modality} is not in it "
                f"({len(items)} sessions are like this)",
                "both in one space",
                f"the {what} is not used; take the image of that space, {settings}",
                "other-space",
            )
        for (suffix, entity), items in self.without.items():
            self.problems.warn(
                items[0].path,
                f"has no {suffix} with {entity}, and the one without is taken "
                f"({len(items)} sessions are like this)",
                "the same kind of image in every session",
                "leave these out by cohort.exclude if theirs is another kind of image",
                "missing-image",
            )
        for (what, suffix, _), kinds in self.kinds.items():
            if len(kinds) > 1:
                rarest = min(kinds.values(), key=len)
                counted = (f"{kind} in {len(items)} sessions" for kind, items in kinds.items())
                self.problems.warn(
                    rarest[0].path,
                    f"has a {suffix}, of which there are several kinds: {', '.join(counted)}",
                    "files that were made in one way",
                    "if they differ (in integers, brightness, skull, space), choose one kind by "
                    f"cohort.{what}_desc or cohort.{what}_entities, or read each kind as a cohort "
                    "of its own (extra_cohorts)",
                    "mixed-derivatives",
                )
        for (what, suffix, descs), items in self.beside.items():
            options = [override(f"cohort.{what}_desc", desc) for desc in descs]
            without = override(f"cohort.{what}_entities", "{desc: null}")
            found = " and ".join(f"desc-{desc}_{suffix}" for desc in descs)
            self.problems.warn(
                items[0].path,
                f"has {found} beside the {suffix} without desc-, which is taken"
                + (", and a label file of that desc-" if what == "image" else "")
                + f" ({len(items)} sessions are like this)",
                "the file that is meant",
                f"set {' or '.join(options)}, or {without} if it is that without",
                "several-files",
            )
        for (what, names), items in self.several.items():
            self.problems.error(
                items[0].path,
                f"has several files that would do: {', '.join(names)} "
                f"({len(items)} sessions are like this)",
                "one file for each session",
                _advice(what, names),
                "several-files",
                [item.id for item in items],
            )


def _advice(what: str, names: Sequence[str]) -> str:
    """Return the settings that distinguish the candidate names."""
    candidates = [entities_of(name) for name in names]
    lines = []
    for key in dict.fromkeys(key for entities in candidates for key in entities):
        values = sorted({entities.get(key, "") for entities in candidates})
        if len(values) > 1 and key == "desc":
            options = [override(f"cohort.{what}_desc", v) for v in values]
            lines.append(f"set {' or '.join(options)}")
        elif len(values) > 1 and (what, key) == ("label", "label"):
            lines.append(
                "each shows one structure: write them into one label map, with an integer for each"
            )
        elif len(values) > 1:
            option = f"cohort.{what}_entities"
            options = [override(option, f"{{{key}: {v or 'null'}}}") for v in values]
            lines.append(f"set {' or '.join(options)}")
    return "; ".join(lines) or "move the ones that are not wanted out of the folder"


def _normalized(key: str, value: str) -> str:
    number = key == "run" and value.isascii() and value.isdecimal()
    return str(int(value)) if number else value
