"""One person in training and test: by id, by voxels, by what a changed image shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from small_cohort import annotate_cohort, make_data, small_space, write_cohort

from neoseg.cohort import Assignment, Cohort, Plan, Source, Split
from neoseg.cohort.annotation import write_plan
from neoseg.commands.evaluating import _unseen
from neoseg.doctor.cohort import duplicate_images
from neoseg.evaluation.cohorts import Scored
from neoseg.labels import Protocol
from neoseg.runs.people import IMAGES, PLAN, seen_by, write_images
from neoseg.runs.unseen import Ids, member_of, seen_in_training
from neoseg.store import DataError, PrepareSettings
from neoseg.store.leaks import Member, by_name, members_of, require_none, told_once, warn_of_twins
from neoseg.store.store import Store

Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def coarser(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In voxels of 1.25 times the size, over the same field of view."""
    shape = np.rint(np.array(data.shape) / 1.25).astype(int)
    step = np.array(data.shape) / shape
    made = ndimage.affine_transform(data, step, (step - 1) / 2, output_shape=tuple(shape), order=1)
    new = affine.copy()
    new[:3, 3] += affine[:3, :3] @ ((step - 1) / 2)
    new[:3, :3] *= step
    return made, new


CHANGES: dict[str, Change] = {
    "same": lambda data, affine: (data, affine),
    "scaled": lambda data, affine: (data * 0.4 + 100, affine),
    "moved": lambda data, affine: (data, affine + np.outer([9, -4, 2, 0], [0, 0, 0, 1])),
    "mirrored": lambda data, affine: (data[::-1], affine),
    "upside down": lambda data, affine: (data[:, ::-1, ::-1], affine),
    "coarser": coarser,
}


def texture(root: Path, number: int) -> Cohort:
    """People of smooth tissue of their own, as heads have, on a fine grid."""
    cohort = write_cohort(root, number)
    scans = []
    for place, scan in enumerate(cohort.scans):
        rng = np.random.default_rng(place)
        data = ndimage.gaussian_filter(rng.normal(size=(32, 32, 32)), 3) * 6000
        ball = np.linalg.norm(np.indices((32, 32, 32)) - 15.5, axis=0) < 13
        image = np.where(ball, 900 + data, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), scan.images[0])
        scans.append(replace(scan, label=None))
    return replace(cohort, scans=tuple(scans))


def changed(cohort: Cohort, change: Change, subject: str = "99") -> Cohort:
    """Return another cohort, of a changed copy of the first scan under another id."""
    source = cohort.scans[0].images[0]
    assert source is not None
    image = nib.load(source)
    data, affine = change(np.asarray(image.dataobj), image.affine)
    path = source.parents[1] / "copy.nii"
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    scan = replace(cohort.scans[0], subject=subject, images=(path,), cohort="clinic")
    return replace(cohort, name="clinic", scans=(scan,))


def plan_of(*cohorts: Cohort, splits: tuple[str, ...] = ("train", "test")) -> Plan:
    """All scans of a cohort in one split."""
    unlabelled = Protocol.unlabelled(small_space())
    sources = []
    for cohort, split in zip(cohorts, splits, strict=True):
        items = tuple(
            Assignment(s.subject, s.session, split, "unlabelled", unlabelled.name, cohort.name)
            for s in cohort.scans
        )
        parts = [cohort.subjects if name == split else () for name in ("train", "val", "test")]
        sources.append(Source(cohort, Split(*parts), items, {unlabelled.name: unlabelled}))
    return Plan.of(sources)


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_scan_in_the_test_of_another_cohort(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = texture(tmp_path, 4)
    other = changed(cohort, CHANGES[change])
    with pytest.raises(DataError, match=r"copy\.nii is for test and shows .*sub-00/image.*train"):
        make_data(plan_of(cohort, other), tmp_path / "store")
    data = make_data(plan_of(cohort, other, splits=("train", "train")), tmp_path / "store")
    warn_of_twins(data.members)
    assert (
        "small/sub-00 and clinic/sub-99 show the same image, and count as two people" in caplog.text
    )
    examined = [
        item
        for c in (cohort, other)
        for item in Store(tmp_path / "store", PrepareSettings(locations=50)).examine(c, c.scans)
    ]
    (told,) = duplicate_images(examined)
    assert told.severity == ("error" if change in ("same", "moved") else "warning")
    assert "copy.nii" in told.where
    assert not list(duplicate_images(examined[:-1]))


def test_one_run_tells_of_a_leak_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cohort = write_cohort(tmp_path, 2)
    other = replace(cohort, name="b", scans=tuple(replace(s, cohort="b") for s in cohort.scans))
    both = list(by_name(members_of(plan_of(cohort, other))))
    for run in (1, 2):
        with told_once():
            for leaks in (both, both, both[:1], both[:1]):
                require_none(leaks, "tell", "")
        assert caplog.text.count("one person in two parts") == 2 * run  # in two wordings


def test_a_subject_of_two_cohorts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cohort = write_cohort(tmp_path, 2)
    other = replace(cohort, name="b", scans=tuple(replace(s, cohort="b") for s in cohort.scans[1:]))
    members = members_of(plan_of(cohort, other))
    with pytest.raises(DataError, match=r"(?s)is for test and has the subject id of .*train.*do x"):
        require_none(by_name(members), "stop", "do x")
    require_none(by_name(members), "tell", "")
    assert "has the subject id of" in caplog.text
    assert not list(by_name(members_of(plan_of(cohort, other, splits=("val", "val")))))


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Cohort]:
    """What the folder of a run tells that was trained on three of four people."""
    cohort = texture(tmp_path / "data", 4)
    plan = annotate_cohort(cohort, ["unlabelled"] * 4, ["train", "train", "val", "test"])
    run = tmp_path / "run"
    run.mkdir()
    write_plan(run / PLAN, [replace(a, cohort="small") for a in plan.assignments])
    write_images(run, make_data(plan, tmp_path / "store").members)
    return run, cohort


def labelled(cohort: Cohort) -> Scored:
    scans = tuple(replace(scan, label=scan.images[0]) for scan in cohort.scans)
    return Scored(cohort, scans)


def test_evaluation_on_scans_of_the_training(
    trained: tuple[Path, Cohort], caplog: pytest.LogCaptureFixture
) -> None:
    run, cohort = trained
    assert [member.part for member in seen_by(run)] == ["train", "train", "val"]
    with pytest.raises(DataError, match=r"(?s)evaluation and .*for train.*seen=leave_out"):
        _unseen(labelled(cohort), run, "stop", "all")
    left = _unseen(labelled(cohort), run, "leave_out", "all")
    assert [scan.subject for scan in left.scans] == ["03"]
    assert "3 of 4 scans are left out" in caplog.text
    assert len(_unseen(labelled(cohort), run, "score", "all").scans) == 4


def test_equal_ids_are_one_person_where_they_say_so(trained: tuple[Path, Cohort]) -> None:
    run, cohort = trained
    unlike = [
        Member(replace(scan, images=(None,), cohort=name), "pool")
        for scan in cohort.scans
        for name in ("small", "clinic")
    ]

    def known(ids: Ids, *parts: str) -> list[str]:
        return [str(leak.other) for leak in seen_in_training([run, run], unlike, ids, parts)]

    assert known("all", "train") == ["small/sub-00", "small/sub-01"]
    assert known("cohort", "train", "val") == [f"small/sub-0{n}" for n in range(3)]
    assert known("none", "train", "val", "test") == []
    same = [member_of(scan, "pool") for scan in cohort.scans]
    assert len(seen_in_training([run], same, "none", ["test"])) == 1


@pytest.mark.parametrize(
    "content",
    [
        *("[", "[]", '{"small": []}', '{"small": {"sub-00": "ab"}}'),
        '{"small": {"sub-00": ["train", "cd", "cd"]}}',
    ],
)
def test_what_is_no_record_of_images_leaves_the_ids(
    trained: tuple[Path, Cohort], caplog: pytest.LogCaptureFixture, content: str
) -> None:
    run, cohort = trained
    (run / IMAGES).write_text(content)
    assert not seen_in_training([run], [member_of(s, "pool") for s in cohort.scans], "none")
    assert [member.signature for member in seen_by(run)] == ["", "", ""]
    if '"cd"' not in content:
        assert "has no fingerprints of its images, which cannot be compared" in caplog.text


@pytest.mark.parametrize(
    ("change", "subject", "ids"),
    [*((change, "99", "all") for change in CHANGES), ("same", "03", "none")],
)
def test_evaluation_on_a_changed_scan_of_another_name(
    trained: tuple[Path, Cohort], change: str, subject: str, ids: Ids
) -> None:
    """Also of a name that is for the test, where ids are not looked at."""
    run, cohort = trained
    with pytest.raises(DataError, match=r"copy\.nii is for evaluation and shows"):
        _unseen(labelled(changed(cohort, CHANGES[change], subject)), run, "stop", ids)
    # Somebody else is scored without a word, and so is a scan of the test.
    unseen = replace(cohort, scans=cohort.scans[3:])
    assert _unseen(labelled(changed(unseen, CHANGES[change])), run, "stop", ids).scans
