"""Read a cohort from any folder, by patterns of the names of its files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from glob import escape
from pathlib import Path
from typing import Literal

from neoseg.cohort.formats import ending_of, fault_of, is_volume
from neoseg.cohort.label_tables import convention_of
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan, bare_id, scan_id
from neoseg.findings.problems import Problems, shorten
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

Files = Mapping[tuple[str, str | None], Path]
"""Files by subject and session."""

PARTS = {"subject": "[^/]+", "session": "[^/_]+", "modality": ""}
"""What a pattern may ask for, and what can stand there; a modality is known beforehand."""


@reader("folder")
def read_folder(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    images: str = "images/{subject}_{modality}",
    labels: str | None = "labels/{subject}",
    masks: str | None = None,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find the files below `root` that fit patterns of `{subject}`, `{session}`, `{modality}`.

    A star stands for anything but a slash, and a pattern without ending fits every kind of volume.
    `labels` and `masks` without `{session}` are those of all sessions. `convention` and the other
    options are those of `read_bids`.
    """
    problems, modalities = reading.problems, reading.modalities
    patterns = {"images": images, "labels": labels, "masks": masks}
    for name, pattern in patterns.items():
        needed = ["subject", "modality"] if name == "images" and modalities[1:] else ["subject"]
        _check(f"cohort.{name}", pattern, needed, problems)
    reading.settle()
    label_files, mask_files = (_find(root, p, modalities[0], problems) for p in (labels, masks))
    others = {*label_files.values(), *mask_files.values()}
    found = [_find(root, images, name, problems, others) for name in modalities]
    if not found[0]:
        wanted = f"files such as {_shown(images, modalities[0])}"
        act = "set cohort.root, cohort.images or cohort.modalities"
        volumes = sorted(filter(is_volume, root.rglob("*")), reverse=True)
        there = {p.parent: str(p.relative_to(root)) for p in volumes}  # the first of each folder
        has = f" that fit, but {shorten(sorted(there.values()))}" if there else ""
        problems.error(root, f"holds no images{has}", wanted, act, "no-scans")
    reading.settle()
    keys = sorted(found[0], key=lambda key: (key[0], key[1] or ""))
    reading.selection.check([subject for subject, _ in keys], problems)
    scans = []
    for key in (key for key in keys if reading.selection.wants(key[0])):
        paths = tuple(files.get(key) for files in found)
        label, mask = _of(key, label_files), _of(key, mask_files)
        for path in filter(None, (*paths, label, mask)):
            why, kind = fault_of(path)
            if why:
                act = "fetch the file, or exclude the subject"
                problems.error(path, why, "a volume", act, kind, [scan_id(*key)])
        scans.append(Scan(*key, paths, label, mask, None, None, reading.name))
    used = {_of(key, label_files) for key in keys}
    stray = sorted(str(path.relative_to(root)) for path in {*label_files.values()} - used)
    if stray:
        has = f"holds {len(stray)} label files without an image: {shorten(stray)}"
        act = "they are ignored; correct cohort.images or cohort.labels if they should take part"
        problems.warn(root, has, action=act, kind="foreign-file")
    note_unlabelled(scans, f"label file {_shown(labels or '', '')}", problems)
    known = {scan.id: scan.label for scan in scans if scan.label is not None}
    return scans, convention_of(space, convention, known, root, problems)


def _check(key: str, pattern: str | None, needed: list[str], problems: Problems) -> None:
    """Note a pattern that cannot find anything."""
    if pattern is None:
        return
    parts = re.findall(r"\{(.*?)\}", pattern)
    wrong = [part for part in parts if part not in PARTS] + [p for p in needed if p not in parts]
    if wrong or pattern.startswith(("/", "~")) or ".." in Path(pattern).parts:
        wanted = f"a path below cohort.root with {' and '.join(f'{{{part}}}' for part in needed)}"
        known = f"parts are {', '.join(f'{{{part}}}' for part in PARTS)}"
        problems.error(key, f"is {pattern!r}", wanted, known)


def _find(
    root: Path,
    pattern: str | None,
    modality: str,
    problems: Problems,
    others: Collection[Path] = (),
) -> Files:
    """Return the files that fit a pattern, but `others`; two of one scan are an error of it."""
    files: dict[tuple[str, str | None], Path] = {}
    fixed = (pattern or "").replace("{modality}", modality)
    whole = ending_of(fixed)
    wide, form = _forms(fixed)
    for path in sorted(root.glob(wide if whole or wide[-1:] == "*" else f"{wide}*")):
        name = path.relative_to(root).as_posix()
        fit = re.fullmatch(form, name if whole else name.removesuffix(ending_of(name)))
        if fit and is_volume(path) and path not in others:
            ids = fit.groupdict()
            key = bare_id(ids["subject"], "sub-"), bare_id(ids.get("session") or "", "ses-") or None
            if key in files:
                has = f"and {path} both fit {pattern}"
                act = "make the pattern narrower, or give it an ending"
                about = [scan_id(*key)]
                problems.error(files[key], has, "one file a scan", act, "several-files", about)
            files.setdefault(key, path)
    return files


def _forms(pattern: str) -> tuple[str, str]:
    """Return a pattern as `glob` has it, and as a regular expression with the parts as groups."""
    wide = form = ""
    for text in re.split(r"(\{\w+\}|\*)", pattern):
        part = text[1:-1]
        if text[:1] not in ("{", "*"):
            wide, form = wide + escape(text), form + re.escape(text)
            continue
        wide = wide.removesuffix("*") + "*"
        if text == "*":
            form += "[^/]*"
        else:
            form += f"(?P={part})" if f"<{part}>" in form else f"(?P<{part}>{PARTS[part]})"
    return wide, form


def _of(key: tuple[str, str | None], files: Files) -> Path | None:
    return files.get(key) or files.get((key[0], None))


def _shown(pattern: str, modality: str) -> str:
    shown = pattern.replace("{modality}", modality).replace("{", "<").replace("}", ">")
    return shown if ending_of(pattern) or not shown else f"{shown}.nii.gz"
