"""Read a folder of nnU-Net or of the Medical Segmentation Decathlon."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoseg.cohort.formats import ENDINGS, ending_of, stem_of, volumes_in
from neoseg.cohort.meaning import WHOLE, resolve
from neoseg.cohort.reader import Reading, note_unlabelled, reader
from neoseg.cohort.scan import Scan
from neoseg.findings.problems import Problems, shorten
from neoseg.foreign import ForeignError, read_json
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

log = logging.getLogger(__name__)

CHANNEL = re.compile(r"_\d{4}$")


@reader("nnunet", usual=("0",))
def read_nnunet(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    convention: Mapping[int, Meaning] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find `imagesTr/CASE_0000.nii.gz` (a file a channel) or `imagesTr/CASE.nii.gz` (the
    Decathlon's) with `labelsTr/CASE.nii.gz`, as `dataset.json` describes them. Images and labels
    may have any ending of volumes, where `file_ending` says no other.

    A modality is the name of a channel in `dataset.json` (`channel_names`, `modality`) or its
    number. The integers mean what `convention` says, else the names in `dataset.json`, which are
    then those of the label table; its label `ignore` is "not annotated". A case is a subject whose
    id are the letters and digits of its name. The other options are those of every `reader`.
    """
    reading.settle()
    problems = reading.problems
    described = _describe(root / "dataset.json", problems)
    channels = _channels(described)
    numbers = [_channel(name, channels, root, problems) for name in reading.modalities]
    said = str(described.get("file_ending") or "")
    ending = said or ".nii.gz"
    if said and not ending_of(said):
        wanted = f"one of {', '.join(ENDINGS)}"
        act = "convert the images, as with SimpleITK, and correct it"
        problems.error(root / "dataset.json", f"has the file_ending {said!r}", wanted, act)
    cases = _cases(root / "imagesTr", said)
    drawn = {stem_of(path): path for path in reversed(_volumes(root / "labelsTr", said))}
    if not cases:
        expected = f"CASE_0000{ending} for each case"
        problems.error(
            root / "imagesTr", "holds no images", expected, "set cohort.root", "no-scans"
        )
    reading.settle()
    subjects: dict[str, str] = {}
    for case in cases:
        first = subjects.setdefault(re.sub(r"[\W_]", "", case), case)
        if first != case:
            alike = f"and {first} differ in signs alone, not in letters and digits"
            problems.error(case, alike, action="rename one of the two", kind="duplicate-scan")
    reading.selection.check(list(subjects), problems)
    scans = []
    for subject, case in subjects.items():
        if not reading.selection.wants(subject):
            continue
        images = [cases[case].get(number) for number in numbers]
        if images[0] is None:
            found = f"has no channel {reading.modalities[0]} of case {case}"
            action = "restore the file, or leave the subject out (cohort.exclude)"
            about = (f"{case}_{numbers[0]:04d}{ending}", action, "missing-image")
            problems.error(root / "imagesTr", found, *about, [f"sub-{subject}"])
            continue
        scans.append(
            Scan(subject, None, (*images,), drawn.get(case), None, None, None, reading.name)
        )
    note_unlabelled(scans, "label file", problems)
    if convention is None:
        named = described.get("labels", {})
        return scans, resolve(space, _meanings(named), root / "dataset.json", problems)
    return scans, resolve(space, convention, "convention", problems)


def channels_of(files: Sequence[Path], modalities: Sequence[str]) -> dict[str, str]:
    """Return the modality of each number (`0000`) that ends the names of nnU-Net's images.

    By the `dataset.json` in their folder or beside it, else in order; {} where the numbers at the
    end of names are those of scans.
    """
    numbers = {int(end[0][1:]) for path in files if (end := CHANNEL.search(stem_of(path)))}
    folders = dict.fromkeys(f for path in files for f in (path.parent, path.parent.parent))
    about = next((p for p in (f / "dataset.json" for f in folders) if p.is_file()), None)
    if not numbers or (about is None and len(modalities) == 1):
        return {}
    known = {} if about is None else _channels(_describe(about, Problems()))
    if known and not numbers <= set(known):
        return {}
    called = {n: m for n, name in known.items() for m in modalities if m in (name, str(n))}
    if len(called) == len(modalities):
        return {f"{number:04d}": modality for number, modality in called.items()}
    if len(known or modalities) != len(modalities) or max(numbers) >= len(modalities):
        return {}
    found = {f"{number:04d}": modality for number, modality in enumerate(modalities)}
    said = ", ".join(f"_{number} is {modality}" for number, modality in found.items())
    log.warning("%s: images are taken as nnU-Net's channels, in order: %s", files[0].parent, said)
    return found


def _describe(path: Path, problems: Problems) -> dict[str, Any]:
    wanted = "the description that nnU-Net and the Decathlon have, with `labels` and the channels"
    try:
        described = read_json(path)
    except ForeignError as error:
        problems.error(path, f"cannot be read ({error})", wanted, "set cohort.root", "bad-table")
        return {}
    if not isinstance(described, dict) or not isinstance(described.get("labels", {}), dict):
        problems.error(path, "is no such description", wanted, "restore it", "bad-table")
        return {}
    return described


def _channels(described: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the channels by number, as a description has them."""
    names = described.get("channel_names") or described.get("modality")
    pairs = names.items() if isinstance(names, dict) else ()
    return {int(number): str(name) for number, name in pairs if WHOLE.fullmatch(str(number))}


def _channel(name: str, channels: Mapping[int, str], root: Path, problems: Problems) -> int:
    """Return the number of a channel that is named by its name or number."""
    for number, known in channels.items():
        if name in (known, str(number)):
            return number
    expected = f"one of {shorten(f'{v} ({k})' for k, v in channels.items())}"
    problems.error(
        root / "dataset.json", f"has no channel '{name}'", expected, "set cohort.modalities"
    )
    return 0


def _cases(folder: Path, ending: str) -> dict[str, dict[int, Path]]:
    """Return the images of each case by the number of their channel, sorted by case."""
    cases: dict[str, dict[int, Path]] = {}
    for path in _volumes(folder, ending):
        name = stem_of(path)
        several = CHANNEL.search(name)
        case = name[: several.start()] if several else name
        cases.setdefault(case, {}).setdefault(int(several[0][1:]) if several else 0, path)
    return dict(sorted(cases.items()))


def _volumes(folder: Path, ending: str) -> list[Path]:
    """Return the files of an ending, or of any ("") where nobody says which, `.nii.gz` first."""
    return [p for p in volumes_in(folder) if p.is_file() and ending in ("", ending_of(p.name))]


def names_of(labels: Mapping[str, Any]) -> dict[Any, str | None]:
    """Turn `{"1": name}` (Decathlon) or `{name: 1}` (nnU-Net) into `{1: name}`.

    The name of `ignore` is None. A region of one integer, `{name: [3]}`, names that.
    """
    names: dict[Any, str | None] = {}
    for key, value in labels.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != 1:
                continue
            (value,) = value
        integer, name = (value, key) if isinstance(value, int) else (key, value)
        whole = int(integer) if WHOLE.fullmatch(str(integer)) else integer
        names[whole] = None if name == "ignore" else name
    return names


def regions_of(labels: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the integers of each region, `{name: [1, 2]}`, that has several.

    Members that are no whole numbers are left out.
    """
    lists = {k: v for k, v in labels.items() if isinstance(v, list | tuple) and len(v) > 1}
    return {k: tuple(int(i) for i in v if WHOLE.fullmatch(str(i))) for k, v in lists.items()}


def _meanings(labels: Mapping[str, Any]) -> dict[Any, Meaning]:
    """Return what the integers mean; those of regions that have no name are those of the table."""
    meanings: dict[Any, Meaning] = {0: 0}
    for values in regions_of(labels).values():
        meanings |= {value: value for value in values}
    return meanings | {i: name for i, name in names_of(labels).items() if name != "background"}
