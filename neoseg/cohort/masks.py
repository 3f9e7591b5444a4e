"""Find masks of one structure each, by patterns of their names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from neoseg.cohort.formats import fault_of
from neoseg.cohort.meaning import has_name
from neoseg.cohort.patterns import STRUCTURE, matches
from neoseg.cohort.scan import Scan, bare_id
from neoseg.findings.nearest import nearest
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import LabelError, LabelSet, LabelSpace
from neoseg.labels.convention import Meaning

Masks = dict[str, Path]
"""Files by the word in their names that stands for the structure."""


def find_masks(
    scans: Sequence[Scan], root: Path, pattern: str, problems: Problems
) -> dict[str, Masks]:
    """Return the masks of each scan (by its id) that has some.

    `problems` gets files that cannot be read, two of one structure in one scan, and that no file
    fits the pattern.

    Args:
        scans: of a cohort; only files that name one of them count.
        root: where the pattern starts.
        pattern: path with `{subject}`, `{structure}`, and `{session}` unless the masks are those of
            all sessions, as in `{subject}/segmentations/{structure}`.
    """
    with_session = "{session}" in pattern
    named = defaultdict[tuple[str, str], list[str]](list)
    for scan in scans:
        session = scan.session or ""
        for subject in (scan.subject, f"sub-{scan.subject}"):
            for visit in (session, f"ses-{session}") if with_session else ("",):
                named[subject, visit].append(scan.id)
        if session and not with_session:
            for name in (scan.id, bare_id(scan.id, "sub-")):
                named[name, ""].append(scan.id)
    parts = {
        "subject": _one_of(subject for subject, _ in named),
        "session": _one_of(session for _, session in named),
        STRUCTURE: "[^/]+",
    }
    found = defaultdict[str, Masks](dict)
    for path, words in matches(root, pattern, parts):
        for scan_id in named.get((words["subject"], words.get("session", "")), ()):
            first = found[scan_id].setdefault(words[STRUCTURE], path)
            fault, kind = fault_of(path)
            if first != path:
                fault, kind = f"and {first} are masks of one structure", "several-files"
            if fault:
                action = "repair or remove the file, or exclude the subject"
                problems.error(path, fault, "one volume", action, kind, [scan_id])
    if not found:
        problems.error(
            root,
            f"holds no masks of {shorten((scan.id for scan in scans), 3)} that fit {pattern}",
            "files such as " + pattern.replace("{", "<").replace("}", ">") + ".nii.gz",
            "correct masks=...; the path starts from cohort.root",
            "no-labels",
        )
    return dict(found)


def structures_of(
    space: LabelSpace, words: Iterable[str], given: Mapping[str, Meaning], problems: Problems
) -> dict[str, LabelSet]:
    """Return the leaves that are meant by words in names of files, as far as they are known.

    Spaces may be written as `_` or `-`. Words that are not known are told in one warning.

    Args:
        space: label space whose names they are.
        words: in names of files.
        given: what is meant by words that the label table writes otherwise; None leaves them out.
        problems: collects names that the table lacks, and words that no file has.
    """
    words = sorted(set(words))
    known: dict[str, LabelSet] = {}
    unknown = []
    for word in words:
        meaning: Meaning = given.get(word)
        if word not in given:
            ways = (word, word.replace("_", " "), word.replace("-", " "))
            meaning = next((way for way in ways if has_name(space, way)), None)
            if meaning is None:
                unknown.append(word)
        if meaning is not None:
            try:
                known[word] = space.label_set(meaning)
            except LabelError as error:
                problems.error("structures", f"{word}: {error}", kind="label-meaning")
    for word in sorted(set(given) - set(words)):
        found = f"names {word!r}, and no mask is called so{nearest(word, words)}"
        problems.error("structures", found, kind="label-meaning")
    if unknown:
        names = shorten(entry.abbreviation for entry in space.classes)
        example = next((word for word in unknown if re.fullmatch(r"[\w-]+", word)), "WORD")
        problems.warn(
            "masks",
            f"{len(unknown)} structures are not in label table '{space.name}': {shorten(unknown)}",
            f"its names, such as {names}",
            "their masks are left out, so that they are background; if the table writes one "
            f"otherwise, say so: 'structures={{{example}: NAME}}'",
            "label-meaning",
        )
    return known


def _one_of(names: Iterable[str]) -> str:
    """Return a regular expression for any of the names, the longest first."""
    return "|".join(map(re.escape, sorted(set(names), key=lambda name: (-len(name), name))))
