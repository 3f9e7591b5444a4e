"""What came of a damaged file: a listed problem, a correct result, or something that must not be.

"Correct" is what the file was before the damage. A file that is accepted and holds something else
must have been told of; only where nothing in it contradicts the rest is it another file, of which
nobody can know. All of that is decided without the code under test: by the undamaged bytes,
nibabel's own reader, `contradictions.py`, and for tables the few lines of `plain_rows`.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import images
import nibabel as nib
import numpy as np
import tables
from contradictions import SHIFT, apart, contradiction

from neoseg.cohort import CohortError, Scan, read_bids
from neoseg.cohort.annotation import read_plan
from neoseg.cohort.split import read_split
from neoseg.findings.settings import ConfigError
from neoseg.inference.dataset import DerivativeError, Provenance
from neoseg.inference.derivative import write_derivative
from neoseg.labels import Convention, LabelError, LabelSpace, LabelTable
from neoseg.store import DataError, read_volume
from neoseg.store.reading import read_labels, read_scan
from neoseg.store.settings import PrepareSettings

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

LISTED = (CohortError, ConfigError, DataError, DerivativeError, LabelError)
PROBLEM, CORRECT, WRONG, TRACEBACK = "listed problem", "correct result", "wrong result", "traceback"
OTHER = "another file"
"""Nothing in it tells that it was damaged; what it holds now was read as it is."""

AGES = (15.0, 60.0)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TABLE = {
    "name": "small",
    "background": 0,
    "leaves": [
        {"index": n, "name": name, "abbreviation": short, "color": "#000000"}
        for n, (name, short) in enumerate(
            [("Clear", "BG"), ("Fluid", "CSF"), ("Grey", "GM"), ("White", "WM")]
        )
    ],
}


@dataclass(frozen=True)
class Outcome:
    """The end of one case."""

    seed: int
    group: str
    kinds: str
    verdict: str
    detail: str = ""

    @property
    def is_fine(self) -> bool:
        return self.verdict in (PROBLEM, CORRECT, OTHER)


class OtherFile(Exception):  # noqa: N818
    """An accepted file that is not what it was, and does not show it."""


class Told(Exception):  # noqa: N818
    """An accepted file of which a warning tells."""


class MismatchError(Exception):
    """An accepted file that gave something else than it holds."""


def space() -> LabelSpace:
    return LabelSpace.from_table(LabelTable.parse(TABLE))


def judged(seed: int, group: str, kinds: str, run: Callable[[], None]) -> Outcome:
    """Run one case and say how it ended."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            run()
    except LISTED as error:
        return Outcome(seed, group, kinds, PROBLEM, str(error))
    except MismatchError as error:
        return Outcome(seed, group, kinds, WRONG, str(error))
    except Told as note:
        return Outcome(seed, group, kinds, PROBLEM, str(note))
    except OtherFile as other:
        return Outcome(seed, group, kinds, OTHER, str(other))
    except Exception:
        return Outcome(seed, group, kinds, TRACEBACK, traceback.format_exc())
    return Outcome(seed, group, kinds, CORRECT)


def require(condition: object, what: str) -> None:
    if not condition:
        raise MismatchError(what)


# Images


def judge_image(seed: int, folder: Path) -> Outcome:
    """Damage an image or a label map, and read, prepare and segment it."""
    rng = np.random.default_rng(seed)
    is_label = bool(rng.random() < 0.4)
    path, kinds, whole = images.damaged(rng, folder, f"case-{seed}", is_label)
    group = "label" if is_label else "image"
    run = _use_label if is_label else _use_image
    outcome = judged(seed, group, kinds, lambda: run(path, folder / "out", whole))
    path.unlink()
    return outcome


def _use_image(path: Path, output: Path, whole: bytes) -> None:
    volume = read_volume(path)
    image = _compare(path, volume, np.float32)
    scan = Scan("1", None, (path,), None, None, None, None, "c")
    settings = PrepareSettings(normalise="minmax", crop_margin=None, dtype="float32")
    prepared, geometry, _, _ = read_scan(scan, Convention.identity(space()), settings)
    low, high = float(volume.data.min()), float(volume.data.max())
    wanted = (volume.data.astype(np.float64) - low) / (high - low)
    require(np.allclose(prepared[0], wanted, atol=1e-5), "prepared values")
    require(geometry.shape == volume.native_shape, "geometry")
    labels = np.random.default_rng(0).integers(0, 4, volume.native_shape).astype(np.uint8)
    target = write_derivative(output, path, labels, space(), Provenance("neoseg", "0", "run"))
    written = nib.load(target)
    require(np.array_equal(np.asarray(written.dataobj).reshape(labels.shape), labels), "labels")
    require(np.allclose(written.affine, image.affine, rtol=1e-4, atol=1e-3), "affine of labels")
    target.unlink()
    _require_whole(path, volume, whole)


def _use_label(path: Path, output: Path, whole: bytes) -> None:
    volume = read_volume(path, dtype=np.int64)
    _compare(path, volume, None)
    convention = Convention.identity(space())
    scan = Scan("1", None, (path,), path, None, None, None, "c")
    codes, _, voxels = read_labels(scan, convention, None)
    # Values 0 to 3 are their own codes; those of floats need to be whole to 1e-3.
    require(np.abs(codes - volume.data).max() <= 1e-3, "codes")
    require(voxels.sum() == codes.size, "counts")
    _require_whole(path, volume, whole)


def _require_whole(path: Path, volume: Any, whole: bytes) -> None:
    """Compare what was read with the file as it was before the damage."""
    single = nib.Nifti1Image if whole[:4] in images.SMALL else nib.Nifti2Image
    before: Any = single.from_bytes(whole)
    data = nib.as_closest_canonical(before).get_fdata()
    same = (
        volume.data.shape == data.shape
        and np.array_equal(volume.data, data)
        and apart(before.affine, volume.native_affine, before.shape) <= SHIFT
    )
    if same:
        return
    if volume.notes:
        raise Told("; ".join(map(str, volume.notes)))
    why = contradiction(path.read_bytes())
    require(not why, f"accepted without a word, against its own {why}")
    raise OtherFile("other voxels or another place")


def _compare(path: Path, volume: Any, dtype: type | None) -> Any:
    """Compare with what nibabel reads from the file by itself."""
    try:
        image: Any = nib.load(path)
        data = np.asanyarray(image.dataobj)
    except Exception as error:
        raise MismatchError(f"accepted, and nibabel says {error}") from error
    require(data.ndim == 3 or (data.ndim == 4 and data.shape[3] == 1), f"shape {data.shape}")
    data = data.reshape(data.shape[:3])
    require(np.isfinite(data).all(), "voxels that are no numbers")
    require(np.allclose(volume.native_affine, image.affine), "affine")
    turned = nib.apply_orientation(data, nib.io_orientation(image.affine))
    wanted = turned.astype(dtype or np.float64)
    require(volume.data.shape == wanted.shape, "shape")
    require(np.array_equal(volume.data.astype(wanted.dtype), wanted), "voxels")
    # Half of the extent moves with every axis that was turned.
    corners = nib.as_closest_canonical(nib.Nifti1Image(data.astype(np.float32), image.affine))
    require(np.allclose(volume.affine, corners.affine, rtol=1e-4, atol=1e-3), "canonical affine")
    return image


# Tables

SESSIONS = (("CC01", "1"), ("CC01", "2"), ("CC02", "1"), ("CC03", "5"), ("007", "1"))
SOUND: dict[str, list[list[str]]] = {
    "participants.tsv": [
        ["participant_id", "sex", "birth_age"],
        *(["CC01", "male", "28.5"], ["sub-CC02", "female", "39"], ["CC03", "female", "-999"]),
        ["007", "male", "31.2"],
    ],
    "sub-CC01/sub-CC01_sessions.tsv": [
        ["session_id", "scan_age", "radiology_score"],
        *(["1", "30.1", "Q"], ["ses-2", "40.5", "3Q"]),
    ],
    "dseg.tsv": [
        ["index", "name", "abbreviation"],
        *(["0", "Clear", "BG"], ["7", "Fluid", "CSF"], ["12", "Grey", "GM"], ["13", "White", "WM"]),
    ],
    "split.csv": [
        ["subject", "split"],
        *(["CC01", "train"], ["CC02", "train"], ["CC03", "val"], ["007", "test"]),
    ],
    "annotation.csv": [
        ["cohort", "subject", "session", "split", "stream", "protocol"],
        *(["bids", s, n, "train", "full", "full"] for s, n in SESSIONS),
    ],
}


def make_tree(root: Path) -> None:
    """Write a small cohort: readers look at names and sizes of images only."""
    for subject, session in SESSIONS:
        anat = root / f"sub-{subject}" / f"ses-{session}" / "anat"
        anat.mkdir(parents=True)
        for ending in ("T2w", "dseg"):
            (anat / f"sub-{subject}_ses-{session}_{ending}.nii.gz").write_bytes(b"nifti")
    for name in SOUND:
        restore(root, name)


def restore(root: Path, name: str) -> None:
    (root / name).write_bytes(_text(SOUND[name], _delimiter(name)).encode())


def judge_table(seed: int, root: Path) -> Outcome:
    """Damage one table of the cohort in `root`, read the cohort, and bring the table back."""
    rng = np.random.default_rng(seed)
    name = list(SOUND)[int(rng.integers(len(SOUND)))]
    content, kinds = tables.damaged(rng, SOUND[name], _delimiter(name))
    (root / name).write_bytes(content)
    outcome = judged(seed, Path(name).name, kinds, lambda: _use_tables(root, name, content))
    restore(root, name)
    return outcome


def _use_tables(root: Path, name: str, content: bytes) -> None:
    logging.disable(logging.WARNING)
    try:
        cohort = read_bids(root, space())
        split = read_split(root / "split.csv", cohort.scans)
        plan = read_plan(root / "annotation.csv", "bids")
    finally:
        logging.disable(logging.NOTSET)
    rows = plain_rows(root / name)
    require({(s.subject, s.session) for s in cohort.scans} == set(SESSIONS), "scans")
    if name == "participants.tsv":
        wanted = _ages(rows, "participant_id", "sub-", "birth_age")
        for scan in cohort.scans:
            require(scan.birth_age == wanted.get(scan.subject), f"birth age of {scan.id}")
    elif name.endswith("_sessions.tsv"):
        wanted = _ages(rows, "session_id", "ses-", "scan_age")
        for scan in cohort.scans:
            if scan.subject == "CC01":
                require(scan.scan_age == wanted.get(scan.session), f"scan age of {scan.id}")
    elif name == "dseg.tsv":
        _compare_convention(rows, cohort.convention)
    elif name == "split.csv":
        given = {_bare(r["subject"], "sub-"): r["split"].casefold() for r in rows if r["subject"]}
        for subject in cohort.subjects:
            require(split.of(subject) == given.get(subject), f"split of {subject}")
    else:
        keys = ("subject", "session", "split", "stream", "protocol")
        found = [tuple(getattr(item, key) or "" for key in keys) for item in plan]
        require(sorted(found) == sorted(tuple(r[k] for k in keys) for r in rows), "plan")
    restore(root, name)
    before = plain_rows(root / name)
    (root / name).write_bytes(content)
    if sorted(map(sorted, map(dict.items, rows))) != sorted(map(sorted, map(dict.items, before))):
        raise OtherFile("other cells")


def _ages(
    rows: list[dict[str, str]], key: str, prefix: str, column: str
) -> dict[str | None, float | None]:
    found: dict[str | None, float | None] = {}
    for row in rows:
        text = row.get(column, "")
        age = float(text) if NUMBER.fullmatch(text) else None
        known = age is not None and AGES[0] <= age <= AGES[1]
        found.setdefault(_bare(row[key], prefix), age if known else None)
    return found


def _compare_convention(rows: list[dict[str, str]], convention: Convention) -> None:
    names = {
        text.casefold(): leaf["index"]
        for leaf in TABLE["leaves"]  # type: ignore[attr-defined]
        for text in (leaf["name"], leaf["abbreviation"], str(leaf["index"]))
    }
    wanted = {0: 0}
    for row in rows:
        require(re.fullmatch(r"\+?\d+", row["index"], re.ASCII), f"index {row['index']!r}")
        texts = [text.casefold() for text in (row["name"], row.get("abbreviation", "")) if text]
        leaf = next((names[text] for text in texts if text in names), None)
        require(leaf is not None, f"name {texts}")
        wanted[int(row["index"])] = leaf  # type: ignore[assignment]
    found = {v: set(s) for v, s in zip(convention.values, convention.sets, strict=True)}
    require(found == {value: {leaf} for value, leaf in wanted.items()}, "meaning of the labels")


def plain_rows(path: Path) -> list[dict[str, str]]:
    """Read a table in the plainest way; raises `MismatchError` for what nobody may accept."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        head = next(iter(text.splitlines()), "")
        sign = max(_delimiter(path.name), ",", ";", "\t", key=head.count)
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=sign))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MismatchError(f"accepted, and {error}") from error
    names = [name.strip().casefold() for name in lines[0]]
    rows = [dict(zip(names, map(str.strip, line), strict=False)) for line in lines[1:]]
    filled = [dict.fromkeys(names, "") | row for row in rows if any(row.values())]
    called = [name for name in names if name]
    require(len(set(called)) == len(called), f"accepted, and columns are called alike: {called}")
    return filled


def _bare(text: str, prefix: str) -> str:
    return text.strip().removeprefix(prefix)


def _delimiter(name: str) -> str:
    return "," if name.endswith(".csv") else "\t"


def _text(rows: list[list[str]], delimiter: str) -> str:
    return "".join(delimiter.join(row) + "\n" for row in rows)
