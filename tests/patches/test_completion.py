from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from small_cohort import annotate_cohort, make_data, write_cohort

from neoseg.cohort import MissingModality, Scan
from neoseg.patches.batch import Batch
from neoseg.patches.completion import complete, draw_presence, presence
from neoseg.patches.datamodule import MixedDataModule

WHOLE = (Path("t2.nii.gz"), Path("t1.nii.gz"), Path("flair.nii.gz"))
LACKING = (Path("t2.nii.gz"), None, Path("flair.nii.gz"))


def scan(images: tuple[Path | None, ...]) -> Scan:
    return Scan("a", None, images, None, None, None, None, "toy")


def drawn(images: tuple[Path | None, ...], policy: str, probability: float = 0.5) -> np.ndarray:
    """Draw 400 items; `[400, M]`."""
    missing = MissingModality(policy=policy, probability=probability)  # type: ignore[arg-type]
    rows = [draw_presence(scan(images), missing, [n]) for n in range(400)]
    return torch.cat([row for row in rows if row is not None]).numpy()


def test_a_missing_image_is_zero_and_its_flag_too() -> None:
    image = torch.rand(2, 3, 2, 4, 5) + 1
    present = torch.tensor([[True, True, True], [True, False, True]])
    found = complete(image, present)
    assert found.shape == (2, 5, 2, 4, 5)
    assert torch.equal(found[0, :3], image[0])
    assert torch.equal(found[1, 0], image[1, 0])
    assert torch.equal(found[1, 2], image[1, 2])
    assert not found[1, 1].any()
    assert found[:, 3:].amax((2, 3, 4)).tolist() == [[1, 1], [0, 1]]
    assert torch.equal(found[:, 3:].amax((2, 3, 4)), found[:, 3:].amin((2, 3, 4)))


def test_what_a_missing_image_holds_does_not_matter() -> None:
    image = torch.rand(1, 2, 3, 3, 3)
    noisy = image.clone()
    noisy[:, 1] = torch.nan
    assert torch.equal(complete(image, [True, False]), complete(noisy, [True, False]))


def test_one_modality_has_no_flag() -> None:
    image = torch.rand(1, 1, 3, 3, 3)
    assert complete(image, [True]) is image
    for policy in ("require", "drop", "zero", "dropout"):
        missing = MissingModality(policy=policy)  # type: ignore[arg-type]
        assert draw_presence(scan(WHOLE[:1]), missing, [0]) is None


def test_zero_shows_what_is_there() -> None:
    assert drawn(WHOLE, "zero").all()
    assert (drawn(LACKING, "zero") == [True, False, True]).all()


def test_dropout_hides_each_but_the_first_on_its_own() -> None:
    shown = drawn(WHOLE, "dropout")
    assert shown[:, 0].all()
    assert shown[:, 1:].mean(0) == pytest.approx([0.5, 0.5], abs=0.1)
    assert len({tuple(row) for row in shown}) == 4
    assert not drawn(LACKING, "dropout")[:, 1].any()
    assert drawn(WHOLE, "dropout", 0.0).all()
    # However much is hidden, an image is left.
    assert (drawn(WHOLE, "dropout", 1.0) == [True, False, False]).all()


def inverted(path: Path | None) -> Path:
    """Write another image beside one, dark where that is bright."""
    assert path is not None
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    other = path.with_name("second.nii.gz")
    nib.save(nib.Nifti1Image(data.max() - data, image.affine), other)
    return other


def pair(tmp_path: Path, policy: str | None, with_teacher: bool = False) -> MixedDataModule:
    """Four heads with two images each, the second of them missing in the last two."""
    cohort = write_cohort(tmp_path, 4)
    scans = [
        replace(s, images=(*s.images, inverted(s.images[0]) if n < 2 else None))
        for n, s in enumerate(cohort.scans)
    ]
    both = replace(cohort, scans=tuple(scans), modalities=("T2w", "T1w"))
    data = make_data(
        annotate_cohort(both, ["full"] * 4), tmp_path / "store", with_teacher=with_teacher
    )
    chosen: Any = None if policy is None else MissingModality(policy=policy, probability=0.5)
    data.missing_modality = chosen
    return data


def batches(data: MixedDataModule) -> list[Batch]:
    return list(data.train_dataloader())


def test_presence_of_an_item_is_a_function_of_seed_step_and_item(tmp_path: Path) -> None:
    first, again, zero, plain = (
        batches(pair(tmp_path, policy)) for policy in ("dropout", "dropout", "zero", None)
    )
    hidden = 0
    for a, b, z, p in zip(first, again, zero, plain, strict=True):
        assert a.present is not None
        assert z.present is not None
        assert torch.equal(a.present, b.present)  # type: ignore[arg-type]
        assert p.present is None
        # Nothing else is drawn otherwise because of it.
        for name in ("image", "codes", "scan"):
            assert torch.equal(getattr(a, name), getattr(p, name))
        there = torch.tensor([[True, number < 2] for number in a.scan.tolist()])
        assert torch.equal(z.present, there)
        assert (a.present <= there).all()
        assert a.present[:, 0].all()
        hidden += int((there & ~a.present).sum())
    assert hidden


def test_student_and_teacher_have_one_presence(tmp_path: Path) -> None:
    for batch in batches(pair(tmp_path, "dropout", with_teacher=True)):
        assert batch.teacher_image is not None
        assert batch.present is not None
        assert batch.present.shape == (4, 2)


def test_validation_tells_what_a_scan_has(tmp_path: Path) -> None:
    data = pair(tmp_path, "zero")
    data.val = data.train
    samples = list(data.val_dataloader())
    assert [s.present for s in samples] == [(True, True)] * 2 + [(True, False)] * 2
    assert [s.present for s in samples] == [presence(s.entry.scan) for s in data.train]
    assert not samples[2].image[1].any()
