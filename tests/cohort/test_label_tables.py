"""The meaning of integers by the tables beside label files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from cohort_trees import make_bids, write_names

from neoseg.cohort import Cohort, CohortError, read_bids, read_table
from neoseg.labels import LabelSpace
from neoseg.store import PrepareSettings
from neoseg.store.store import Store


@pytest.mark.parametrize("table", ["dseg.tsv", "desc-manual_dseg.tsv"])
def test_names_give_the_meaning(tmp_path: Path, drawem9: LabelSpace, table: str) -> None:
    make_bids(tmp_path)
    write_names(tmp_path / table, "4\tWHITE   MATTER\tx", "9\tEverything grey\tcgm", "6\ttcv\t")
    convention = read_bids(tmp_path, drawem9).convention
    assert convention.values == (0, 4, 6, 9)
    expected = ["BG", "WM", "TCV", "cGM"]
    assert [drawem9.label_set(name) for name in expected] == list(convention.sets)


def test_a_table_of_other_labels_is_not_read(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    write_names(tmp_path / "desc-other_dseg.tsv", "4\tnonsense\t")
    assert read_bids(tmp_path, drawem9).convention.values == tuple(range(10))


LAB = {1: "cGM", 2: "WM", 3: "CSF"}
"""Another numbering than that of drawem9, in which 1 is CSF, 2 cGM, 3 WM."""


def write_lab(path: Path, **changes: str) -> None:
    said = {**LAB, **{int(key.strip("_")): name for key, name in changes.items()}}
    write_names(path, *(f"{value}\t{name}\t" for value, name in said.items()))


def meaning_of(cohort: Cohort) -> dict[int, str]:
    convention = cohort.convention
    return {value: convention.name(code) for code, value in enumerate(convention.values)}


@pytest.mark.parametrize(
    "places",
    [
        [f"{p}_dseg.tsv" for p in ("sub-01/anat/sub-01", "sub-02/ses-a/anat/sub-02_ses-a")]
        + ["sub-02/ses-b/anat/sub-02_ses-b_desc-manual_dseg.tsv"],
        ["sub-01/sub-01_desc-manual_dseg.tsv", "sub-02/dseg.tsv"],
        ["sub-01/dseg.tsv", "desc-manual_dseg.tsv"],
    ],
)
def test_tables_are_inherited(tmp_path: Path, drawem9: LabelSpace, places: list[str]) -> None:
    make_bids(tmp_path)
    for place in places:
        write_lab(tmp_path / place)
    # Of other files: another session, another kind of labels, another suffix.
    for place in ("sub-01/sub-02_dseg.tsv", "desc-auto_dseg.tsv", "dsegs.tsv", "probseg.tsv"):
        write_lab(tmp_path / place, _1="nonsense")
    cohort = read_bids(tmp_path, drawem9)
    assert meaning_of(cohort) == {0: "BG", **LAB}
    assert not [p for p in cohort.problems if p.kind in ("guessed-meaning", "label-tables")]


def test_the_nearest_table_counts_and_a_hidden_one_is_told_of(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_bids(tmp_path)
    write_lab(tmp_path / "dseg.tsv", _1="CSF", _3="cGM", _5="VENT")
    write_lab(tmp_path / "desc-manual_dseg.tsv")
    cohort = read_bids(tmp_path, drawem9)
    assert meaning_of(cohort) == {0: "BG", **LAB}
    (told,) = [p for p in cohort.problems if p.kind == "label-tables"]
    assert told.severity == "warning"
    assert told.where.endswith("desc-manual_dseg.tsv")
    assert "1 is cGM, not CSF, 3 is CSF, not cGM as" in told.found


def test_tables_that_disagree_are_an_error_of_the_fewer(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_bids(tmp_path)
    write_lab(tmp_path / "sub-02/dseg.tsv", _4="VENT")
    write_lab(tmp_path / "sub-01/dseg.tsv", _1="CSF")
    with pytest.raises(CohortError, match=r"sub-01/dseg\.tsv: says that 1 is CSF, not cGM") as info:
        read_bids(tmp_path, drawem9)
    assert [p.scans for p in info.value.problems] == [("sub-01",)]
    kept = read_bids(tmp_path, drawem9, on_error="skip")
    assert [scan.subject for scan in kept.scans] == ["02", "02"]
    assert meaning_of(kept) == {0: "BG", **LAB, 4: "VENT"}
    said = read_bids(tmp_path, drawem9, convention={0: 0, **LAB})
    assert meaning_of(said) == {0: "BG", **LAB}


def test_a_meaning_that_nobody_told_is_told(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    (told,) = [p for p in read_bids(tmp_path, drawem9).problems if p.kind == "guessed-meaning"]
    assert "3 of 3 label files (sub-01, sub-02_ses-a, sub-02_ses-b)" in told.found
    assert "cohort.convention=identity" in told.action
    write_lab(tmp_path / "sub-02/dseg.tsv")
    cohort = read_bids(tmp_path, drawem9)
    (told,) = [p for p in cohort.problems if p.kind == "guessed-meaning"]
    assert "1 of 3 label files (sub-01)" in told.found
    assert "'cohort.convention={0: BG, 1: cGM, 2: WM, 3: CSF}'" in told.action
    given: dict[Any, Any] = {0: "BG", **LAB}
    for convention in ("identity", given):
        found = read_bids(tmp_path, drawem9, convention=convention).problems  # type: ignore[arg-type]
        assert not [p for p in found if p.kind == "guessed-meaning"]


def test_two_tables_of_one_rank_that_contradict_each_other(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    """The alphabet would decide."""
    make_bids(tmp_path, ("acq-a_T2w", "acq-a_desc-manual_dseg"))
    write_lab(tmp_path / "acq-a_dseg.tsv")
    write_lab(tmp_path / "desc-manual_dseg.tsv", _1="CSF", _3="cGM")
    with pytest.raises(CohortError, match="1 is cGM, not CSF, 3 is CSF, not cGM as"):
        read_bids(tmp_path, drawem9)
    (tmp_path / "sub-02/ses-b/anat/sub-02_ses-b_acq-a_dseg.tsv").write_text(
        (tmp_path / "acq-a_dseg.tsv").read_text()
    )
    kept = read_bids(tmp_path, drawem9, on_error="skip")  # one has a nearer table
    assert [scan.id for scan in kept.scans] == ["sub-02_ses-b"]
    write_lab(tmp_path / "desc-manual_dseg.tsv")
    assert meaning_of(read_bids(tmp_path, drawem9)) == {0: "BG", **LAB}


def test_an_integer_is_not_named_by_the_table_of_another_file(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_bids(tmp_path)
    values = np.repeat(np.arange(5, dtype=np.uint8), 200).reshape(10, 10, 10)
    rng = np.random.default_rng(0)
    for path in tmp_path.rglob("*.nii.gz"):
        voxels = values if "dseg" in path.name else rng.normal(values, 1).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    write_lab(tmp_path / "sub-01/dseg.tsv")
    write_lab(tmp_path / "sub-02/dseg.tsv", _4="VENT")
    cohort = read_bids(tmp_path, drawem9)
    store = Store(tmp_path / "store", PrepareSettings(crop_margin=None, processes=1))
    bad, *fine = store.examine(cohort, cohort.scans)
    (told,) = bad.errors
    assert "holds 4 (200 voxels; VENT by the others), which its own table" in told.found
    assert not any(item.errors for item in fine)
    # The entries stay what they are; the table is looked at again.
    write_lab(tmp_path / "sub-01/dseg.tsv", _4="VENT")
    cohort = read_bids(tmp_path, drawem9)
    assert not any(item.errors for item in store.examine(cohort, cohort.scans))


def test_a_table_above_labels_that_lie_elsewhere_is_told(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    (tmp_path / "cohort").mkdir()
    (tmp_path / "other" / "labels").mkdir(parents=True)
    rows = ["subject,T2w,label"]
    for name in ("1", "2"):
        (tmp_path / "cohort" / f"{name}.nii.gz").write_bytes(b"nifti")
        (tmp_path / "other" / "labels" / f"{name}_dseg.nii.gz").write_bytes(b"nifti")
        rows.append(f"{name},{name}.nii.gz,../other/labels/{name}_dseg.nii.gz")
    (tmp_path / "cohort" / "scans.csv").write_text("\n".join(rows) + "\n")
    write_lab(tmp_path / "other" / "dseg.tsv")
    cohort = read_table(tmp_path / "cohort" / "scans.csv", drawem9)
    assert meaning_of(cohort) == {0: "BG", **LAB}
    (told,) = [p for p in cohort.problems if p.kind == "label-tables"]
    assert "of 2 label files mean that lie outside" in told.found


@pytest.mark.parametrize("name", ["Background", "Unknown", "clear label", "Clear", "BG"])
def test_zero_is_the_background_however_it_is_called(
    tmp_path: Path, drawem9: LabelSpace, name: str
) -> None:
    """Also where a structure has that name: in this table, tissue around the brain."""
    make_bids(tmp_path)
    assert drawem9.label_set("Background") != {drawem9.background}
    write_names(tmp_path / "dseg.tsv", f"0\t{name}\t", "3\tWhite matter\t", "9\tunknown\t")
    convention = read_bids(tmp_path, drawem9).convention
    assert convention.values == (0, 3, 9)
    white, nothing = drawem9.label_set("WM"), drawem9.everything
    assert convention.sets == (frozenset([drawem9.background]), white, nothing)


def test_another_integer_may_be_called_background(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    write_names(tmp_path / "dseg.tsv", "0\tClear\t", "4\tBackground\t")
    convention = read_bids(tmp_path, drawem9).convention
    assert convention.sets[1] == drawem9.label_set("BKG")


def test_every_unknown_name_is_listed_once(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    write_names(tmp_path / "dseg.tsv", "1\tWhite matter\t", "2\tFalx\tFX", "3\tTentorium\t")
    with pytest.raises(
        CohortError, match=r"lacks: 2 'Falx', 3 'Tentorium'; .*`convention`"
    ) as info:
        read_bids(tmp_path, drawem9)
    assert len(info.value.problems) == 1
    assert read_bids(tmp_path, drawem9, convention="identity").convention.sets[5] == {5}


def test_names_at_the_integers_of_the_table_may_be_left_out(tmp_path, drawem9) -> None:
    """As FreeSurfer's colour table lists more structures than a label file shows."""
    make_bids(tmp_path)
    rows = [f"{leaf.index}\t{leaf.name}\t" for leaf in drawem9.leaves]
    write_names(tmp_path / "dseg.tsv", *rows, "85\tOptic-Chiasm\t")
    with pytest.raises(CohortError, match=r"85 'Optic-Chiasm'.*set cohort\.convention=identity, "):
        read_bids(tmp_path, drawem9)
    rows[1:3] = [f"1\t{drawem9.leaves[2].name}\t", f"2\t{drawem9.leaves[1].name}\t"]
    write_names(tmp_path / "dseg.tsv", *rows, "85\tOptic-Chiasm\t")
    with pytest.raises(CohortError, match=r"lacks: .*; map the integers"):
        read_bids(tmp_path, drawem9)


def test_an_explicit_convention_outranks_names(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    write_names(tmp_path / "dseg.tsv", "1\tWhite matter\t")
    meaning: dict[Any, Any] = {0: None, "10": "CSF", 150: ["cGM", "dGM"], 250: 3}
    convention = read_bids(tmp_path, drawem9, convention=meaning).convention
    assert convention.values == (0, 10, 150, 250)
    assert convention.sets == (
        drawem9.everything,
        frozenset([1]),
        frozenset([2, 7]),
        frozenset([3]),
    )


def test_every_unknown_name_of_a_convention_is_listed(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_bids(tmp_path)
    meaning: dict[Any, Any] = {1: "falx", 2: ["cGM", "tentorium"], "x": "WM", 3: "WM"}
    with pytest.raises(CohortError) as caught:
        read_bids(tmp_path, drawem9, convention=meaning)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert all(part in text for part in ("value 1: ", "'falx'", "'tentorium'", "key 'x'"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1\tWhite matter\t", "1\tBrainstem\t"], "lists the index 1 twice"),
        (["one\tWhite matter\t"], "key 'one'"),
    ],
)
def test_tables_of_names_that_cannot_be(
    tmp_path: Path, drawem9: LabelSpace, rows: list[str], message: str
) -> None:
    make_bids(tmp_path)
    write_names(tmp_path / "dseg.tsv", *rows)
    with pytest.raises(CohortError, match=message):
        read_bids(tmp_path, drawem9)
