"""Read a cohort from any folder by file name patterns."""

import re
from collections.abc import Collection, Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Literal

from neoseg.cohort.formats import SEGMENTATION, ending_of, fault_of, is_volume
from neoseg.cohort.listed import with_meaning
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan, bare_id, ids_in, scan_id
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

Files = Mapping[tuple[str, str | None], Path]
"""Files by subject and session."""

PARTS = {"subject": "[^/]+", "session": "[^/_]+", "modality": ""}
"""Placeholders of a pattern and the regular expressions they match; `{modality}` is filled in."""

STRUCTURE = "structure"
"""Placeholder of masks of one structure each, for which there is a command."""


@reader("folder")
def read_folder(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    images: str = "images/{subject}_{modality}",
    labels: str | None = "labels/{subject}",
    masks: str | None = None,
    names: Mapping[str, str] | None = None,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find the files below `root` that match patterns with `{subject}`, `{session}`, `{modality}`.

    A star matches anything but a slash, and a pattern without an ending matches every kind of
    volume. `labels` and `masks` without `{session}` apply to all sessions of a subject. `names` has
    what stands for a modality in the names of files, as in `{T1w: t1, FLAIR: flair}`.
    `convention` and the other options are those of `read_bids`.
    """
    problems, modalities = reading.problems, reading.modalities
    called = {modality: str((names or {}).get(modality, modality)) for modality in modalities}
    patterns = {"images": images, "labels": labels, "masks": masks}
    for name, pattern in patterns.items():
        needed = ["subject", "modality"] if name == "images" and modalities[1:] else ["subject"]
        _check(f"cohort.{name}", pattern, needed, problems)
    reading.settle()
    label_files, mask_files = (
        _find(root, p, called[modalities[0]], problems) for p in (labels, masks)
    )
    label_and_mask_files = {*label_files.values(), *mask_files.values()}
    files_of = [
        _find(root, images, called[name], problems, label_and_mask_files) for name in modalities
    ]
    if not files_of[0]:
        expected = f"files such as {_example(images, called[modalities[0]])}"
        remedy = "set cohort.root, cohort.images, cohort.modalities or cohort.names"
        volumes = sorted(filter(is_volume, root.rglob("*")), reverse=True)
        examples = {p.parent: str(p.relative_to(root)) for p in volumes}  # the first of each folder
        hint = f" that fit, but {shorten(sorted(examples.values()))}" if examples else ""
        problems.error(root, f"holds no images{hint}", expected, remedy, "no-scans")
    reading.settle()
    keys = sorted(files_of[0], key=lambda key: (key[0], key[1] or ""))
    reading.selection.check([subject for subject, _ in keys], problems)
    scans = []
    for key in (key for key in keys if reading.selection.wants(key[0])):
        paths = tuple(files.get(key) for files in files_of)
        label, mask = _lookup(key, label_files), _lookup(key, mask_files)
        for path in filter(None, (*paths, label, mask)):
            fault, kind = fault_of(path)
            if fault:
                remedy = "fetch the file, or exclude the subject"
                problems.error(path, fault, "a volume", remedy, kind, [scan_id(*key)])
        scans.append(Scan(*key, paths, label, mask, None, None, reading.name))
    used_labels = {_lookup(key, label_files) for key in keys}
    stray = sorted(str(path.relative_to(root)) for path in {*label_files.values()} - used_labels)
    if stray:
        found = f"holds {len(stray)} label files without an image: {shorten(stray)}"
        remedy = "they are ignored; correct cohort.images or cohort.labels if they should take part"
        problems.warn(root, found, action=remedy, kind="foreign-file")
    note_unlabelled(scans, f"label file {_example(labels or '', '')}", problems)
    return with_meaning(scans, space, convention, root, problems)


def _check(key: str, pattern: str | None, needed: list[str], problems: Problems) -> None:
    """Record an error for a pattern that cannot match."""
    if pattern is None:
        return
    if not fits(pattern, needed, PARTS):
        expected = f"a path below cohort.root with {' and '.join(f'{{{part}}}' for part in needed)}"
        action = f"parts are {', '.join(f'{{{part}}}' for part in PARTS)}"
        if f"{{{STRUCTURE}}}" in pattern:
            action += "; python -m neoseg.combine_masks makes one label file of masks"
        problems.error(key, f"is {pattern!r}", expected, action)


def fits(pattern: str, needed: Collection[str], allowed: Collection[str]) -> bool:
    """Return whether a pattern is a path below its root with the needed parts, and no unknown."""
    parts = {*re.findall(r"\{(.*?)\}", pattern)}
    below = not pattern.startswith(("/", "~")) and ".." not in Path(pattern).parts
    return below and {*needed} <= parts <= {*allowed}


def _find(
    root: Path,
    pattern: str | None,
    modality: str,
    problems: Problems,
    excluded: Collection[Path] = (),
) -> Files:
    """Return the files that match a pattern, except `excluded`; two of one scan are an error."""
    files: dict[tuple[str, str | None], Path] = {}
    filled = (pattern or "").replace("{modality}", modality)
    for path, ids in matches(root, filled, PARTS):
        if path not in excluded:
            session = bare_id(ids.get("session") or "", "ses-")
            subject = bare_id(ids["subject"], "sub-")
            key = (subject, session) if session else ids_in(subject)
            if key in files:
                found = f"and {path} both fit {pattern}"
                action = "make the pattern narrower, or give it an ending"
                scan_ids = [scan_id(*key)]
                problems.error(
                    files[key], found, "one file a scan", action, "several-files", scan_ids
                )
            files.setdefault(key, path)
    return files


def matches(
    root: Path, pattern: str, parts: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the volumes below `root` that match a pattern, sorted, with what its parts stand for.

    Args:
        root: where the pattern starts.
        pattern: path with placeholders, without ending for every kind of volume.
        parts: placeholders, and the regular expressions that they match.
    """
    ending = ending_of(pattern)
    glob, regex = _glob_and_regex(pattern, parts)
    for path in sorted(root.glob(glob if ending or glob[-1:] == "*" else f"{glob}*")):
        name = path.relative_to(root).as_posix()
        stem = name.removesuffix(ending_of(name))
        if name.lower().endswith(SEGMENTATION):
            stem = name[: -len(SEGMENTATION)]
        match = re.fullmatch(regex, name if ending else stem)
        if match and is_volume(path):
            yield path, match.groupdict()


def _glob_and_regex(pattern: str, parts: Mapping[str, str]) -> tuple[str, str]:
    """Return a pattern as a glob and as a regular expression with the placeholders as groups."""
    glob = regex = ""
    for text in re.split(r"(\{\w+\}|\*)", pattern):
        part = text[1:-1]
        if text[:1] not in ("{", "*"):
            glob, regex = glob + escape(text), regex + re.escape(text)
            continue
        glob = glob.removesuffix("*") + "*"
        if text == "*":
            regex += "[^/]*"
        else:
            regex += f"(?P={part})" if f"<{part}>" in regex else f"(?P<{part}>{parts[part]})"
    return glob, regex


def _lookup(key: tuple[str, str | None], files: Files) -> Path | None:
    return files.get(key) or files.get((key[0], None))


def _example(pattern: str, modality: str) -> str:
    text = pattern.replace("{modality}", modality).replace("{", "<").replace("}", ">")
    return text if ending_of(pattern) or not text else f"{text}.nii.gz"
