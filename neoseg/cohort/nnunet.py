"""Read a cohort from a data set of nnU-Net or the Medical Segmentation Decathlon."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from neoseg.cohort.formats import ENDINGS, ending_of, stem_of, volumes_in
from neoseg.cohort.label_tables import convention_of
from neoseg.cohort.meaning import WHOLE, resolve
from neoseg.cohort.reader import Reading, note_unlabelled, reader, warn_of_time_points
from neoseg.cohort.scan import Scan, ids_in, names_ct, scan_id
from neoseg.findings.command_line import override
from neoseg.findings.problems import CohortError, Problem, Problems, shorten
from neoseg.foreign import ForeignError, read_json
from neoseg.labels import Convention, LabelSpace
from neoseg.labels.convention import Meaning

log = logging.getLogger(__name__)

CHANNEL = re.compile(r"_\d{4}$")
"""Channel number at the end of an image's name."""


@reader("nnunet", usual=("0",), names_in_files=False)
def read_nnunet(
    root: Path,
    space: LabelSpace,
    reading: Reading,
    *,
    names: Mapping[str, str] | None = None,
    convention: Mapping[int, Meaning] | Literal["identity"] | None = None,
) -> tuple[list[Scan], Convention | None]:
    """Find the images and labels of each case, as described by `dataset.json`.

    Images are `imagesTr/CASE_0000.nii.gz` (one file per channel) or `imagesTr/CASE.nii.gz` (the
    Decathlon's), labels `labelsTr/CASE.nii.gz`. Without a `file_ending` in `dataset.json`, any
    ending of volumes is accepted.

    A modality is the name of a channel in `dataset.json` (`channel_names`, `modality`) or its
    number; `names` has what stands for it there, as in `{T1w: T1, FLAIR: flair}`. The integers are
    defined by `convention`, else by the names in `dataset.json`, which must be in the label table;
    its label `ignore` means "not annotated". A case is a subject whose id consists of the letters
    and digits of its name; `sub-X_ses-Y` is a session of one. The other options are those of every
    `reader`.
    """
    reading.settle()
    problems = reading.problems
    if not root.is_dir():
        problems.error(root, "is not a folder", "one with dataset.json", "set cohort.root")
        reading.settle()
    description = _read_description(root / "dataset.json", problems)
    channels = _channels(description)
    numbers = [
        _channel((names or {}).get(name, name), channels, root, problems)
        for name in reading.modalities
    ]
    stated = str(description.get("file_ending") or "")
    ending = stated or ".nii.gz"
    if stated and not ending_of(stated):
        wanted = f"one of {', '.join(ENDINGS)}"
        remedy = "convert the images, as with SimpleITK, and correct it"
        problems.error(root / "dataset.json", f"has the file_ending {stated!r}", wanted, remedy)
    cases = _cases(root / "imagesTr", stated)
    label_files = {stem_of(path): path for path in reversed(_volumes(root / "labelsTr", stated))}
    if not cases:
        expected = f"CASE_0000{ending} for each case"
        problems.error(
            root / "imagesTr", "holds no images", expected, "set cohort.root", "no-scans"
        )
    if len(channels) > 1 and cases and not any(map(_is_numbered, cases.values())):
        problems.error(
            root / "imagesTr",
            f"holds images without a number, and dataset.json has {len(channels)} channels, "
            f"{', '.join(channels.values())}; the Decathlon has them as volumes of one file",
            f"a file for each, such as {next(iter(cases))}_0000{ending}",
            "split them, as nnU-Net's nnUNetv2_convert_MSD_dataset does",
            "dimensions",
        )
    reading.settle()
    subjects: dict[tuple[str, str | None], str] = {}
    for case in cases:
        subject, session = (part and re.sub(r"[\W_]", "", part) for part in ids_in(case))
        first = subjects.setdefault((subject or case, session), case)
        if first != case:
            conflict = f"and {first} differ in signs alone, not in letters and digits"
            problems.error(case, conflict, action="rename one of the two", kind="duplicate-scan")
    single = [case for (_, session), case in subjects.items() if session is None]
    warn_of_time_points(single, "name the cases sub-X_ses-Y", problems)
    reading.selection.check([subject for subject, _ in subjects], problems)
    scans = []
    for (subject, session), case in subjects.items():
        if not reading.selection.wants(subject):
            continue
        images = [cases[case].get(number) for number in numbers]
        if images[0] is None:
            found = f"has no channel {reading.modalities[0]} of case {case}"
            action = "restore the file, or leave the subject out (cohort.exclude)"
            details = (f"{case}_{numbers[0]:04d}{ending}", action, "missing-image")
            ids = [scan_id(subject, session)]
            problems.error(root / "imagesTr", found, *details, ids)
            continue
        label = label_files.get(case)
        scan = Scan(subject, session, (*images,), label, None, None, None, reading.name)
        scans.append(replace(scan, computed=names_ct(channels.get(numbers[0], ""))))
    note_unlabelled(scans, "label file", problems)
    if convention is None:
        labels = description.get("labels", {})
        return scans, resolve(space, _meanings(labels), root / "dataset.json", problems)
    return scans, convention_of(space, convention, {}, root, problems)


def channels_of(
    files: Sequence[Path], modalities: Sequence[str], called: Mapping[str, str]
) -> dict[str, str]:
    """Return the modality of each channel number (`0000`) at the end of nnU-Net image names.

    The modalities are named by `dataset.json` in the folder of the images or its parent, as they
    are or as `called` says; without such names they are taken in order. Returns {} if the numbers
    cannot be channels (they may number scans).

    Raises:
        CohortError: `dataset.json` has other names than that of the first of several modalities.
    """
    numbers = {int(end[0][1:]) for path in files if (end := CHANNEL.search(stem_of(path)))}
    folders = dict.fromkeys(f for path in files for f in (path.parent, path.parent.parent))
    source = next((p for p in (f / "dataset.json" for f in folders) if p.is_file()), None)
    if not numbers or (source is None and len(modalities) == 1):
        return {}
    names = {} if source is None else _channels(_read_description(source, Problems()))
    if names and not numbers <= set(names):
        return {}
    spelt = {m: {m.casefold(), str(called.get(m, m)).casefold()} for m in modalities}
    modality_of = {
        number: modality
        for number, name in names.items()
        for modality, spellings in spelt.items()
        if {name.casefold(), str(number)} & spellings
    }
    found = {f"{number:04d}": modality for number, modality in modality_of.items()}
    if len(found) == len(modalities):
        return found
    tell = any(not name.isdecimal() for name in names.values())
    if tell and len(modalities) > 1:
        said = ", ".join(f"{modality}: NAME" for modality in modalities)
        problem = Problem(
            str(source),
            f"has the channels {', '.join(names.values())}",
            f"those of the network, {', '.join(modalities)}",
            f"say what they are called there by {override('names', f'{{{said}}}')}",
        )
        if modalities[0] not in found.values():
            raise CohortError("the images do not fit the run:", [problem])
        if len(found) < len(names):
            lacking = ", ".join(name for name in modalities if name not in found.values())
            log.warning("%s; until then, scans count as without %s", problem, lacking)
        return found
    if len(names or modalities) != len(modalities) or max(numbers) >= len(modalities):
        return {}
    in_order = {f"{number:04d}": modality for number, modality in enumerate(modalities)}
    order = ", ".join(
        f"_{number:04d}{f' ({names[number]})' if tell else ''} is {modality}"
        for number, modality in enumerate(modalities)
    )
    log.warning("%s: images are taken as nnU-Net's channels, in order: %s", files[0].parent, order)
    return in_order


def _read_description(path: Path, problems: Problems) -> dict[str, Any]:
    expected = "the description that nnU-Net and the Decathlon have, with `labels` and the channels"
    try:
        description = read_json(path)
    except ForeignError as error:
        problems.error(path, f"cannot be read ({error})", expected, "set cohort.root", "bad-table")
        return {}
    if not isinstance(description, dict) or not isinstance(description.get("labels", {}), dict):
        problems.error(path, "is no such description", expected, "restore it", "bad-table")
        return {}
    return description


def _channels(description: Mapping[str, Any]) -> dict[int, str]:
    """Return the channel names of a description by number."""
    names = description.get("channel_names") or description.get("modality")
    pairs = names.items() if isinstance(names, dict) else ()
    return {int(number): str(name) for number, name in pairs if WHOLE.fullmatch(str(number))}


def _channel(name: str, channels: Mapping[int, str], root: Path, problems: Problems) -> int:
    """Return the number of a channel given by its name or number; 0 after an error."""
    for number, channel_name in channels.items():
        if name in (channel_name, str(number)):
            return number
    expected = f"one of {shorten(f'{v} ({k})' for k, v in channels.items())}"
    problems.error(
        root / "dataset.json", f"has no channel '{name}'", expected, "set cohort.modalities"
    )
    return 0


def _cases(folder: Path, ending: str) -> dict[str, dict[int, Path]]:
    """Return the images of each case by channel number, sorted by case."""
    cases: dict[str, dict[int, Path]] = {}
    for path in _volumes(folder, ending):
        name = stem_of(path)
        channel = CHANNEL.search(name)
        case = name[: channel.start()] if channel else name
        cases.setdefault(case, {}).setdefault(int(channel[0][1:]) if channel else 0, path)
    return dict(sorted(cases.items()))


def _is_numbered(images: Mapping[int, Path]) -> bool:
    return any(CHANNEL.search(stem_of(path)) for path in images.values())


def _volumes(folder: Path, ending: str) -> list[Path]:
    """Return the volumes with an ending, or with any if it is "", `.nii.gz` first."""
    return [p for p in volumes_in(folder) if p.is_file() and ending in ("", ending_of(p.name))]


def names_of(labels: Mapping[str, Any]) -> dict[Any, str | None]:
    """Turn `{"1": name}` (Decathlon) or `{name: 1}` (nnU-Net) into `{1: name}`.

    The name of `ignore` is None. A region of one integer, `{name: [3]}`, names that integer.
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
    """Return the integers of each region with several, `{name: [1, 2]}`.

    Members that are not whole numbers are left out.
    """
    lists = {k: v for k, v in labels.items() if isinstance(v, list | tuple) and len(v) > 1}
    return {k: tuple(int(i) for i in v if WHOLE.fullmatch(str(i))) for k, v in lists.items()}


def _meanings(labels: Mapping[str, Any]) -> dict[Any, Meaning]:
    """Return the meaning of the integers; members of regions without a name are table indices."""
    meanings: dict[Any, Meaning] = {0: 0}
    for values in regions_of(labels).values():
        meanings |= {value: value for value in values}
    return meanings | {i: name for i, name in names_of(labels).items() if name != "background"}
