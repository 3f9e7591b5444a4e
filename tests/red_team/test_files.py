"""Links, pipes, devices and bombs in the place of the files of a run, a store or a scan."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from honest import checkpoint, save
from sweep import dice_of, write_run

from neoseg.cohort.split import read_split
from neoseg.evaluation.card import write_card
from neoseg.evaluation.report.arms import with_arms
from neoseg.evaluation.report.cases import case_picture, case_views, choose_cases
from neoseg.evaluation.report.collect import collect
from neoseg.evaluation.report.trends import read_curves
from neoseg.evaluation.view import read_view
from neoseg.failure import failure_of
from neoseg.inference.trained import TrainedNetwork
from neoseg.labels import LabelTable
from neoseg.runs.loading import load_config
from neoseg.runs.record import finished_dice
from neoseg.store import read_volume
from neoseg.training.kept_batch import read_batch


def cases(run: Path) -> Any:
    """Do what a report does with the pictures and views of a run."""
    found = collect(run)
    runs = {item.name: item for item in found.runs}
    chosen = choose_cases(with_arms(found.scores))
    return [(case_views(case, runs), case_picture(case, case.arm, runs)) for case in chosen]


def predict(run: Path) -> Any:
    return TrainedNetwork.load(run, "cpu")


CARRIERS: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "config.yaml": (load_config, True),
    "run.json": (finished_dice, False),
    "scores.csv": (collect, True),
    "annotation.csv": (write_card, False),
    "metrics.csv": (lambda run: read_curves(run / "metrics.csv"), False),
    "failed.json": (failure_of, False),
    "checkpoints/last.ckpt": (predict, True),
    "checkpoints": (predict, True),
    "views/sub-t1_ses-1.npz": (cases, False),
    "views": (cases, False),
    "pictures/sub-t1_ses-1.png": (cases, False),
    "pictures": (cases, False),
}
"""What reads each, and whether nothing can be done without it."""


def honest(folder: Path) -> Path:
    run = write_run(folder / "runs" / "a", dice_of(0.6, ("t1-1",)))
    path = run / "pictures" / "sub-t1_ses-1.png"
    path.parent.mkdir()
    path.write_bytes(png(4, 4))
    return run


def png(width: int, height: int, data: bytes | None = None) -> bytes:
    """Return a picture whose header announces a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * min(height, 64)) if data is None else data
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_an_honest_run_is_read(canary: Any) -> None:
    run = honest(canary.folder)
    found = cases(run)
    assert all(views and picture for views, picture in found)


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("kind", ["link", "link to a link", "pipe", "device", "folder", "loop"])
def test_what_is_no_file_of_the_run_is_not_read(canary: Any, name: str, kind: str) -> None:
    run = honest(canary.folder)
    read, needed = CARRIERS[name]
    if name.startswith("checkpoints"):
        save(run, checkpoint())
    place = run / name
    outside = canary.folder / "outside"
    if place.exists():
        place.rename(outside)  # sound, so that only where it lies can be wrong
    else:
        outside.write_text(json.dumps({"reason": "of another"}))
    if kind == "link":
        place.symlink_to(outside)
    elif kind == "link to a link":
        (canary.folder / "between").symlink_to(outside)
        place.symlink_to(canary.folder / "between")
    elif kind == "loop":
        place.symlink_to(place)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    assert failure_of(run) != "of another"
    found = canary.refused(lambda: read(run)) if needed else canary.harmless(lambda: read(run))
    if name.partition("/")[0] in ("views", "pictures") and kind != "folder":
        which = 0 if name.startswith("views") else 1
        assert not any(pair[which] for pair in found)


def test_links_within_a_run_and_of_a_run_are_followed(canary: Any) -> None:
    run = save(honest(canary.folder), checkpoint())
    last = run / "checkpoints" / "last.ckpt"
    last.rename(run / "checkpoints" / "step-9.ckpt")
    last.symlink_to("step-9.ckpt")
    (canary.folder / "alias").symlink_to(run)
    assert TrainedNetwork.load(canary.folder / "alias", "cpu")
    assert load_config(canary.folder / "alias")


def packed(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def array(value: np.ndarray, **header: Any) -> bytes:
    """Return a `.npy` whose header may lie."""
    stream = io.BytesIO()
    about = np.lib.format.header_data_from_array_1_0(value) | header
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue() + value.tobytes()


def members(**changed: bytes) -> dict[str, bytes]:
    """Return the members of an honest view, some of them changed."""
    about = {"scan": "a", "spacing": [1, 1, 1], "names": ["BG"], "colours": ["#000000"]}
    layer = array(np.zeros((2, 2, 2), np.uint8))
    found = {f"{name}.npy": layer for name in ("image", "truth", "prediction", "wrong")}
    found["about.npy"] = array(np.array(json.dumps(about)))
    return found | {f"{name}.npy": content for name, content in changed.items()}


def told(**changes: Any) -> dict[str, bytes]:
    about = {"scan": "a", "spacing": [1, 1, 1], "names": ["BG"], "colours": ["#000000"]}
    return members(about=array(np.array(json.dumps(about | changes))))


def lying(content: bytes) -> bytes:
    """Let the directory of an archive announce less than its members unpack to."""
    place = content.rindex(b"PK\x01\x02")
    return content[: place + 24] + struct.pack("<I", 100) + content[place + 28 :]


ZEROS = np.zeros(2**26, np.uint8)
VIEWS: dict[str, Callable[[], bytes]] = {
    "a bomb": lambda: packed(members(image=array(ZEROS))),
    "many bombs": lambda: packed(members(**{f"x{n}": bytes(2**21) for n in range(17)})),
    "a bomb that announces little": lambda: lying(packed({"image.npy": bytes(2**24)})),
    "packed by lzma": lambda: packed(members(), zipfile.ZIP_LZMA),
    "a header that announces a lot": lambda: packed(
        members(image=array(np.zeros(8, np.uint8), shape=(2**20, 2**20, 2**20)))
    ),
    "a negative shape": lambda: packed(
        members(image=array(np.zeros(8, np.uint8), shape=(-2, -2, 2)))
    ),
    "objects": lambda: packed(
        members(image=array(np.zeros(8, np.uint8), descr="|O", shape=(1, 1, 1)))
    ),
    "other shapes": lambda: packed(members(truth=array(np.zeros((3, 2, 2), np.uint8)))),
    "other types": lambda: packed(members(truth=array(np.zeros((2, 2, 2), np.float32)))),
    "two axes": lambda: packed(members(truth=array(np.zeros((2, 4), np.uint8)))),
    "large": lambda: packed(
        {
            name: array(np.zeros((500, 2, 2), np.uint8)) if "about" not in name else content
            for name, content in members().items()
        }
    ),
    "numbers without a name": lambda: packed(members(truth=array(np.full((2, 2, 2), 9, np.uint8)))),
    "no layer": lambda: packed({"about.npy": members()["about.npy"]}),
    "no text": lambda: packed(members(about=array(np.zeros(2)))),
    "text that is no JSON": lambda: packed(members(about=array(np.array("{")))),
    "deep JSON": lambda: packed(members(about=array(np.array("[" * 10**5)))),
    "no colour": lambda: packed(told(colours=["url(http://x)"])),
    "too few colours": lambda: packed(told(colours=[])),
    "voxels of no size": lambda: packed(told(spacing=[0, 1, 1])),
    "voxels of giants": lambda: packed(told(spacing=[1e300, 1, 1])),
    "voxels without numbers": lambda: packed(told(spacing=[float("nan"), 1, 1])),
    "names with paths": lambda: packed({"../../mark": b"x", **members()}),
    "an encrypted member": lambda: packed(members()).replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"
    ),
    "no archive": lambda: b"PK\x03\x04 hello",
    "a pickle": lambda: b"\x80\x02cos\nsystem\nX\x0a\x00\x00\x00touch mark\x85R.",
    "empty": lambda: b"",
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_that_is_none_is_refused(canary: Any, name: str) -> None:
    path = canary.folder / "x.npz"
    path.write_bytes(VIEWS[name]())
    with pytest.raises(ValueError, match=r"x\.npz"):
        canary.harmless(lambda: read_view(path))
    with pytest.raises(ValueError, match=r"x\.npz"):
        canary.harmless(lambda: read_batch(path))


PICTURES: dict[str, Callable[[], bytes]] = {
    "a bomb": lambda: png(60_000, 60_000),
    "a text": lambda: b"s3cret",
    "a page": lambda: b"<svg onload=alert(1)>",
    "a jpeg": lambda: b"\xff\xd8\xff\xe0" + bytes(100),
    "cut off": lambda: png(4, 4)[:-20],
    "a checksum": lambda: png(4, 4).replace(b"IDAT", b"IDAS"),
    "the magic word alone": lambda: b"\x89PNG\r\n\x1a\n",
    "large": lambda: png(4, 4, bytes(2**25)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_none_is_not_copied(canary: Any, name: str) -> None:
    run = honest(canary.folder)
    (run / "pictures" / "sub-t1_ses-1.png").write_bytes(PICTURES[name]())
    assert not any(picture for _, picture in canary.harmless(lambda: cases(run)))


def volume(shape: tuple[int, ...], header: tuple[int, ...] | None = None) -> bytes:
    """Return a NIfTI file of zeros whose header may announce another shape."""
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4))
    raw = bytearray(image.to_bytes())
    for place, length in enumerate(header or ()):
        struct.pack_into("<h", raw, 42 + 2 * place, length)
    return bytes(raw)


SCANS: dict[str, Callable[[], bytes]] = {
    "a bomb": lambda: gzip.compress(volume((8, 8, 8)) + bytes(2**25), 1),
    "a bomb of many members": lambda: (
        gzip.compress(volume((8, 8, 8))) + gzip.compress(bytes(2**18), 1) * 40
    ),
    "a bomb behind no header": lambda: gzip.compress(bytes(2**25), 1),
    "a giant that is not there": lambda: gzip.compress(volume((8, 8, 8), (30_000,) * 3)),
    "a header that ends": lambda: gzip.compress(volume((8, 8, 8))[:100]),
    "not packed": lambda: volume((8, 8, 8)),
    "a stream that ends": lambda: gzip.compress(volume((8, 8, 8)))[:-20],
    "another checksum": lambda: gzip.compress(volume((8, 8, 8)))[:-8] + b"12345678",
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_unpacked_as_far_as_it_announces(canary: Any, name: str) -> None:
    path = canary.folder / "x.nii.gz"
    path.write_bytes(SCANS[name]())
    assert "x.nii.gz" in canary.refused(lambda: read_volume(path))


def test_a_scan_of_several_members_is_read(canary: Any) -> None:
    raw = volume((8, 8, 8))
    path = canary.folder / "x.nii.gz"
    path.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]))
    assert read_volume(path).data.shape == (8, 8, 8)


@pytest.mark.parametrize("name", ["pipe.nii.gz", "pipe.csv", "pipe.yaml", "zero.csv", "zero.yaml"])
def test_pipes_and_devices_are_not_waited_for(canary: Any, name: str) -> None:
    path = canary.folder / name
    path.symlink_to("/dev/zero") if name.startswith("zero") else os.mkfifo(path)
    readers: dict[str, Callable[[Path], Any]] = {
        ".gz": read_volume,
        ".csv": lambda p: read_split(p, []),
        ".yaml": LabelTable.read,
    }
    assert name in canary.refused(lambda: readers[path.suffix](path))
