from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from cohort_trees import DHCP_FILES, add_scan, add_table, make_dhcp

from neoseg.cohort import CohortError, read_dhcp
from neoseg.labels import LabelSpace

SCANS = ["sub-007_ses-5", "sub-CC01_ses-0100", "sub-CC01_ses-7", "sub-CC02_ses-3"]


@pytest.mark.parametrize("release", [1, 2, 3])
@pytest.mark.parametrize("labels", ["drawem9", "drawem87"])
@pytest.mark.parametrize("place", ["top", "pipeline"])
def test_finds_every_release(
    tmp_path: Path,
    release: int,
    labels: str,
    place: str,
    request: pytest.FixtureRequest,
) -> None:
    base = make_dhcp(tmp_path, release)
    cohort = read_dhcp(
        tmp_path if place == "top" else base,
        request.getfixturevalue(labels),
        labels=labels,
        modalities=["T2w", "T1w"],
    )
    assert [scan.id for scan in cohort.scans] == SCANS
    assert cohort.modalities == ("T2w", "T1w")
    names = DHCP_FILES[release].split()
    for scan in cohort.scans:
        paths = [*scan.images, scan.label, scan.mask]
        assert all(path is not None and path.is_file() for path in paths)
        tails = [
            path.name.removeprefix(f"{scan.id}_").removesuffix(".nii.gz") for path in paths if path
        ]
        assert set(tails) <= set(names)
        assert ["restore" in tail for tail in tails] == [True, True, False, False]
        assert ("T2w" in tails[0], "T1w" in tails[1]) == (True, True)
        nine = "drawem9" in tails[2] or "tissue" in tails[2]
        assert nine == (labels == "drawem9")


def test_ages_and_ids(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_dhcp(tmp_path)
    cohort = read_dhcp(tmp_path, drawem9)
    found = {scan.id: (scan.birth_age, scan.scan_age, scan.age_group) for scan in cohort.scans}
    assert found == {
        "sub-007_ses-5": (None, None, "unknown"),
        "sub-CC01_ses-0100": (28.5, 40.5, "term"),
        "sub-CC01_ses-7": (28.5, 30.0, "preterm"),
        "sub-CC02_ses-3": (39.0, 41.0, "term"),
    }
    assert cohort.subjects == ("007", "CC01", "CC02")
    assert {scan.cohort for scan in cohort.scans} == {"dhcp"}


def test_a_tree_whose_top_holds_raw_images_too(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path)
    add_scan(tmp_path, "RAW1", "1", ["T2w"])
    cohort = read_dhcp(tmp_path, drawem9)
    assert [scan.id for scan in cohort.scans] == SCANS
    assert all(base in scan.images[0].parents for scan in cohort.scans if scan.images[0])


def test_without_bias_correction(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_dhcp(tmp_path)
    cohort = read_dhcp(tmp_path, drawem9, restore=False)
    assert {str(scan.images[0]).endswith(f"{scan.id}_T2w.nii.gz") for scan in cohort.scans} == {
        True
    }


@pytest.mark.parametrize(
    ("release", "without", "restore", "message"),
    [
        (2, [], False, r"no sub-007_ses-5_T2w, but .*_desc-restore_T2w is there.*set restore=True"),
        (3, ["desc-restore_T2w"], True, "no sub-007_ses-5_desc-restore_T2w.*set restore=False"),
        (1, ["T2w_restore"], True, "no sub-007_ses-5_T2w_restore.*set restore=False"),
        (3, ["desc-restore_T2w", "T2w"], True, "no sub-007_ses-5_desc-restore_T2w; .*fetch it"),
    ],
)
def test_images_that_are_not_there(
    tmp_path: Path,
    drawem9: LabelSpace,
    release: int,
    without: list[str],
    restore: bool,
    message: str,
) -> None:
    make_dhcp(tmp_path, release, without)
    with pytest.raises(CohortError, match=message) as caught:
        read_dhcp(tmp_path, drawem9, restore=restore)
    assert len(caught.value.problems) == 4


def test_t1w_may_be_missing(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path, without=["T1w", "desc-restore_T1w"])
    add_scan(base, "CC02", "3", ["T1w", "desc-restore_T1w"])
    cohort = read_dhcp(tmp_path, drawem9, modalities=["T2w", "T1w"])
    assert [scan.images[1] is not None for scan in cohort.scans] == [False, False, False, True]
    cohort = read_dhcp(tmp_path, drawem9, modalities=["T2w", "T1w"], require_modalities=True)
    assert [scan.id for scan in cohort.scans] == ["sub-CC02_ses-3"]
    assert any("lack a modality" in warning for warning in cohort.warnings)


def test_the_other_variant_of_t1w_is_not_taken_silently(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_dhcp(tmp_path, without=["desc-restore_T1w"])
    with pytest.raises(CohortError, match=r"no sub-007_ses-5_desc-restore_T1w, but .*_T1w is"):
        read_dhcp(tmp_path, drawem9, modalities=["T2w", "T1w"])


def test_missing_labels_are_a_warning(
    tmp_path: Path, drawem9: LabelSpace, caplog: pytest.LogCaptureFixture
) -> None:
    base = make_dhcp(tmp_path)
    (base / "sub-CC02/ses-3/anat/sub-CC02_ses-3_desc-drawem9_dseg.nii.gz").unlink()
    with caplog.at_level(logging.WARNING):
        cohort = read_dhcp(tmp_path, drawem9)
    assert [scan.id for scan in cohort.scans if scan.label is None] == ["sub-CC02_ses-3"]
    assert "1 of 4 scans have no file desc-drawem9_dseg: sub-CC02_ses-3" in caplog.text


def test_the_other_labels_are_named_where_the_wanted_ones_lack(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_dhcp(tmp_path, without=["desc-drawem9_dseg"])
    with pytest.raises(CohortError, match=r"set cohort\.labels=drawem87"):
        read_dhcp(tmp_path, drawem9)


def test_a_cohort_without_any_labels_is_unlabelled(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_dhcp(tmp_path, without=["desc-drawem9_dseg", "desc-drawem87_dseg", "desc-brain_mask"])
    cohort = read_dhcp(tmp_path, drawem9)
    assert {(scan.label, scan.mask) for scan in cohort.scans} == {(None, None)}


def test_tissue_labels_in_the_space_of_the_structures(tmp_path: Path, drawem87: LabelSpace) -> None:
    make_dhcp(tmp_path)
    convention = read_dhcp(tmp_path, drawem87, labels="drawem9").convention
    assert convention.values == tuple(range(10))
    # The ten sets part the 88 leaves.
    assert sum(map(len, convention.sets)) == 88
    assert frozenset().union(*convention.sets) == drawem87.everything
    for value, name in {0: "BG", 1: "CSF", 4: "BKG", 7: "dGM", 8: "BSTEM", 9: "HA"}.items():
        assert convention.sets[value] == drawem87.label_set(name)


def test_structure_labels_in_the_space_of_the_tissues_are_refused(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    make_dhcp(tmp_path)
    with pytest.raises(CohortError, match=r"drawem87 files hold the values 0-87.*10 leaves"):
        read_dhcp(tmp_path, drawem9, labels="drawem87")


def test_all_names_that_a_foreign_table_lacks_are_listed(
    tmp_path: Path, fidon8: LabelSpace
) -> None:
    make_dhcp(tmp_path)
    with pytest.raises(CohortError) as caught:
        read_dhcp(tmp_path, fidon8)
    assert [name for name in ("CSF", "BKG", "VENT", "HA") if f"'{name}'" in str(caught.value)] == [
        "CSF",
        "BKG",
        "VENT",
        "HA",
    ]


def test_convention_adds_and_changes_values(tmp_path: Path, drawem9: LabelSpace) -> None:
    make_dhcp(tmp_path)
    convention = read_dhcp(tmp_path, drawem9, convention={12: None, 9: ["HA", "dGM"]}).convention
    assert convention.values == (*range(10), 12)
    assert convention.sets[10] == drawem9.everything
    assert convention.sets[9] == frozenset([7, 9])
    assert read_dhcp(tmp_path, drawem9, convention="identity").convention.values == (*range(10),)


def test_mixed_releases(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path, 3)
    add_scan(base, "OLD", "1", DHCP_FILES[2].split())
    with pytest.raises(CohortError, match=r"release 2 in 1 sessions .*release 3 in 4 sessions"):
        read_dhcp(tmp_path, drawem9)


def test_rows_without_files_and_files_without_rows(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path)
    add_scan(base, "CC09", "1", DHCP_FILES[3].split())
    with (base / "participants.tsv").open("a") as stream:
        stream.write("CC77\tmale\t30\t1\tsingle\n")
    add_table(base / "sub-CC02/sub-CC02_sessions.tsv", "session_id scan_age", "3 41", "4 42")
    warnings = "\n".join(read_dhcp(tmp_path, drawem9).warnings)
    assert "1 rows have no files: CC77" in warnings
    assert "1 of the scans on disk have no row: CC09" in warnings
    assert "1 rows have no files: CC02_ses-4" in warnings


def test_no_tables_at_all(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path)
    for table in base.rglob("*.tsv"):
        table.unlink()
    cohort = read_dhcp(tmp_path, drawem9)
    assert {(scan.birth_age, scan.scan_age) for scan in cohort.scans} == {(None, None)}
    assert any("participants.tsv" in warning for warning in cohort.warnings)
    with pytest.raises(CohortError, match="leave none of the 4 scans"):
        read_dhcp(tmp_path, drawem9, max_birth_age=32)
    with pytest.raises(
        CohortError, match=r"'sex', and .* has no table of participants or sessions"
    ):
        read_dhcp(tmp_path, drawem9, keep={"sex": "male"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_birth_age": 32}, ["sub-CC01_ses-0100", "sub-CC01_ses-7"]),
        ({"max_birth_age": 28.5}, ["sub-CC01_ses-0100", "sub-CC01_ses-7"]),
        ({"subjects": ["sub-CC02", "007"]}, ["sub-007_ses-5", "sub-CC02_ses-3"]),
        ({"exclude": ["CC01"]}, ["sub-007_ses-5", "sub-CC02_ses-3"]),
        ({"max_subjects": 2}, SCANS[:3]),
        ({"exclude": ["007"], "max_subjects": 1}, SCANS[1:3]),
    ],
)
def test_filters(
    tmp_path: Path, drawem9: LabelSpace, options: dict[str, Any], expected: list[str]
) -> None:
    make_dhcp(tmp_path)
    assert [scan.id for scan in read_dhcp(tmp_path, drawem9, **options).scans] == expected


def test_columns_of_the_tables_tell_which_scans_are_kept(
    tmp_path: Path, drawem9: LabelSpace
) -> None:
    """The sessions' own tables, and that of the participants."""
    base = make_dhcp(tmp_path)
    header = "session_id radiology_score"
    add_table(base / "sub-CC01/sub-CC01_sessions.tsv", header, "ses-7 1", "0100 3Q")
    add_table(base / "sub-007/sub-007_sessions.tsv", header, "5 n/a")
    add_table(base / "sub-CC02/sub-CC02_sessions.tsv", "session_id scan_age", "3 41")

    def kept(**keep: Any) -> list[str]:
        return [scan.id for scan in read_dhcp(tmp_path, drawem9, keep=keep).scans]

    assert kept(radiology_score=[1, "3q"]) == ["sub-CC01_ses-0100", "sub-CC01_ses-7"]
    assert kept(radiology_score=1) == ["sub-CC01_ses-7"]
    assert kept(Radiology_Score=["1"], sex="male") == ["sub-CC01_ses-7"]
    warnings = "\n".join(read_dhcp(tmp_path, drawem9, keep={"radiology_score": [1]}).warnings)
    assert "1 scans have another radiology_score than 1 and" in warnings
    assert "2 scans have no known radiology_score and are left out: sub-007" in warnings
    with pytest.raises(CohortError, match="keep: leaves none of the 4 scans"):
        kept(radiology_score=["5"])
    with pytest.raises(CohortError, match=r"'radiology'.*without it.*mean 'radiology_score'"):
        kept(radiology=[1])


def test_excluded_subjects_may_be_broken(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path)
    add_scan(base, "BAD", "1", ["desc-drawem9_dseg"])
    with pytest.raises(CohortError, match="sub-BAD_ses-1"):
        read_dhcp(tmp_path, drawem9)
    assert len(read_dhcp(tmp_path, drawem9, exclude=["BAD"]).scans) == 4


def test_all_problems_are_listed_together(tmp_path: Path, drawem9: LabelSpace) -> None:
    base = make_dhcp(tmp_path)
    anat = base / "sub-CC02/ses-3/anat"
    (anat / "sub-CC02_ses-3_desc-restore_T2w.nii.gz").write_bytes(b"")
    label = anat / "sub-CC02_ses-3_desc-drawem9_dseg.nii.gz"
    label.unlink()
    label.symlink_to(tmp_path / "annexed")
    (base / "sub-007/ses-5/anat/sub-007_ses-5_desc-restore_T2w.nii.gz").unlink()
    with pytest.raises(CohortError) as caught:
        read_dhcp(tmp_path, drawem9, subjects=["007", "CC02", "CC03"], convention={3: "cortex"})
    text = str(caught.value)
    for part in ("is empty", "link to a file", "no sub-007_ses-5", "names CC03", "'cortex'"):
        assert part in text
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "drawem5"}, "labels: found 'drawem5'; expected one of drawem87, drawem9"),
        ({"modalities": ["FLAIR"]}, "modalities: found"),
        ({"modalities": ["T2w", "T2w"]}, "each once"),
        ({"modalities": []}, "modalities"),
        ({"max_subjects": 0}, "max_subjects"),
        ({"subjects": [7]}, r"subjects: names 7, .* such as 007"),  # a YAML 007 is a 7
        ({"subjects": [7.5]}, r"subjects\.0: found 7\.5"),
        ({"subjects": []}, "filters leave none"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, drawem9: LabelSpace, options: dict[str, Any], message: str
) -> None:
    make_dhcp(tmp_path)
    with pytest.raises(CohortError, match=message):
        read_dhcp(tmp_path, drawem9, **options)


def test_nothing_there(tmp_path: Path, drawem9: LabelSpace) -> None:
    with pytest.raises(CohortError, match=r"holds no scans; expected sub-\*/ses-\*/anat"):
        read_dhcp(tmp_path, drawem9)
    with pytest.raises(CohortError, match=r"absent: is not a folder.*set cohort\.root"):
        read_dhcp(tmp_path / "absent", drawem9)
