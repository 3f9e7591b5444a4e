"""Derivatives: the grid and header of the input, names, tables, and what is refused."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import voxel_sizes

from neoseg.inference.dataset import DerivativeError, Provenance
from neoseg.inference.derivative import derivative_path, plan_derivatives, write_derivative
from neoseg.labels import LabelSpace, LabelTable

RUN = Provenance("neoseg", "0.1.0", "iuc_draw0")
SHAPE = (6, 5, 4)
AFFINE = np.array([[0, -0.5, 0.02, 10], [0.7, 0, 0, -20], [0, 0.02, 0.9, 5], [0, 0, 0, 1.0]])


def make_scan(path: Path, units: str = "mm", kind=nib.Nifti1Image, shape=SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = kind.header_class()
    header["descrip"], header["aux_file"] = b"Jane Doe", b"Doe.dcm"
    if "db_name" in header:
        header["db_name"] = b"Doe"
    header["intent_code"], header["intent_name"] = 1006, b"Doe 2019"
    header["cal_max"], header["toffset"], header["dim_info"] = 1234, 5, 57
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born to Jane Doe"))
    data = np.random.default_rng(0).normal(100, 20, size=shape).astype(np.float32)
    image = kind(data, None, header)
    image.header.set_xyzt_units(units, "sec")
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=1, strip_shears=True)
    image.set_data_dtype(np.int16)
    nib.save(image, path)
    return path


@pytest.fixture
def labels() -> np.ndarray:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4).astype(np.uint8)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["sub-01_T2w.nii.gz", "scan12.nii"])
def test_the_grid_is_that_of_the_input_and_nothing_else(
    tmp_path, space, labels, kind, name
) -> None:
    source = make_scan(tmp_path / "in" / name, kind=kind)
    target = write_derivative(tmp_path / "out", source, labels, space, RUN)
    old, new = nib.load(source), nib.load(target)
    assert new.shape == SHAPE
    assert new.get_data_dtype() == np.uint8
    assert np.array_equal(new.affine, old.affine)
    assert old.header.extensions
    assert np.array_equal(new.get_sform(), old.get_sform())
    raw = target.read_bytes() if target.suffix == ".nii" else gzip.decompress(target.read_bytes())
    assert b"Doe" not in raw
    fresh = kind(np.zeros(SHAPE, np.uint8), AFFINE).header
    grid = ("q", "srow", "pixdim", "xyzt_units", "vox_offset", "scl_")
    others = [name for name in fresh if not name.startswith(grid)]
    assert {n: new.header[n].tolist() for n in others} == {n: fresh[n].tolist() for n in others}
    assert new.header.get_xyzt_units() == ("mm", "unknown")
    assert (int(new.header["sform_code"]), int(new.header["qform_code"])) == (2, 1)
    assert np.array_equal(new.get_qform(), old.get_qform())
    assert np.array_equal(new.header.get_zooms(), old.header.get_zooms())
    assert new.header.get_slope_inter() in ((None, None), (1, 0))
    assert np.array_equal(np.asarray(new.dataobj), np.array([0, 11, 12, 40])[labels])


def test_a_contradiction_of_the_input_is_not_passed_on(tmp_path, space, labels) -> None:
    stored = nib.load(make_scan(tmp_path / "a.nii.gz"))
    moved = np.array(stored.affine)
    moved[:3, 3] += 4
    stored.set_qform(moved, 1, strip_shears=True)
    stored.header["pixdim"][1:4] *= 2
    nib.save(stored, tmp_path / "sub-01_T2w.nii.gz")
    target = write_derivative(tmp_path / "out", tmp_path / "sub-01_T2w.nii.gz", labels, space, RUN)
    new = nib.load(target)
    assert np.array_equal(new.affine, AFFINE.astype(np.float32))
    assert np.allclose(new.header.get_zooms(), voxel_sizes(AFFINE))
    assert int(new.header["qform_code"]) == 0


def test_itk_sees_the_labels_where_it_sees_the_scan(tmp_path, space, labels) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    source = make_scan(tmp_path / "sub-01_T2w.nii.gz")
    target = write_derivative(tmp_path / "out", source, labels, space, RUN)
    scan, found = (sitk.ReadImage(str(path)) for path in (source, target))
    for place in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(found, place)() == getattr(scan, place)()
    indices = np.array([0, 11, 12, 40])[labels]
    assert np.array_equal(sitk.GetArrayFromImage(found).transpose(2, 1, 0), indices)


def test_a_trailing_axis_of_the_file_is_kept(tmp_path, space, labels) -> None:
    source = make_scan(tmp_path / "a.nii.gz", shape=(*SHAPE, 1))
    target = write_derivative(tmp_path / "out", source, labels, space, RUN)
    assert nib.load(target).shape == (*SHAPE, 1)


@pytest.mark.parametrize(("largest", "dtype"), [(65535, np.uint16), (614454277, np.int32)])
def test_large_indices_need_more_bytes(tmp_path, labels, largest: int, dtype: type) -> None:
    leaves = [
        {"index": i, "name": f"n{i}", "abbreviation": f"a{i}", "color": "#000000"}
        for i in (0, 255, 256, largest)
    ]
    table = {"name": "large", "background": 0, "leaves": leaves}
    space = LabelSpace.from_table(LabelTable.parse(table))
    source = make_scan(tmp_path / "a.nii.gz")
    image = nib.load(write_derivative(tmp_path / "out", source, labels, space, RUN))
    assert image.get_data_dtype() == dtype
    assert np.unique(np.asarray(image.dataobj)).tolist() == [0, 255, 256, largest]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T2w.nii.gz", "sub-01/anat/sub-01_desc-neoseg_dseg.nii.gz"),
        ("sub-A_ses-07_T2w.nii", "sub-A/ses-07/anat/sub-A_ses-07_desc-neoseg_dseg.nii.gz"),
        (
            "sub-A_ses-1_acq-hi_desc-restore_space-T2w_T1w.nii.gz",
            "sub-A/ses-1/anat/sub-A_ses-1_acq-hi_space-T2w_desc-neoseg_dseg.nii.gz",
        ),
        ("sub-A_ses-1_T2w_restore.nii.gz", "sub-A/ses-1/anat/sub-A_ses-1_desc-neoseg_dseg.nii.gz"),
        ("scan12.nii.gz", "scan12_desc-neoseg_dseg.nii.gz"),
        ("SCAN.v2.NII.GZ", "SCAN.v2_desc-neoseg_dseg.nii.gz"),
        ("sub-01_3DT1.nii.gz", "sub-01/anat/sub-01_desc-neoseg_dseg.nii.gz"),
        ("sub-lab_04.nii.gz", "sub-lab_04_desc-neoseg_dseg.nii.gz"),
        ("sub-01.nii.gz", "sub-01_desc-neoseg_dseg.nii.gz"),
        ("sub-.._T2w.nii.gz", "sub-.._T2w_desc-neoseg_dseg.nii.gz"),
        ("sub-1_ses-.._T2w.nii.gz", "sub-1_ses-.._T2w_desc-neoseg_dseg.nii.gz"),
        ("..nii.gz", "._desc-neoseg_dseg.nii.gz"),
        ("...nii.gz", ".._desc-neoseg_dseg.nii.gz"),
    ],
)
def test_names(name, expected) -> None:
    assert derivative_path(Path("out"), Path("/data/../x") / name) == Path("out") / expected


@pytest.mark.parametrize(
    ("scan", "expected"),
    [
        ("sub-01", "sub-01/anat/sub-01_desc-neoseg_dseg.nii.gz"),
        ("sub-01_ses-2", "sub-01/ses-2/anat/sub-01_ses-2_desc-neoseg_dseg.nii.gz"),
        ("sub-lab_04", "sub-lab_04_desc-neoseg_dseg.nii.gz"),
        ("sub-lab_A", "sub-lab_A_desc-neoseg_dseg.nii.gz"),
        ("sub-a_b_c", "sub-a_b_c_desc-neoseg_dseg.nii.gz"),
        ("a.b", "a.b_desc-neoseg_dseg.nii.gz"),
    ],
)
def test_each_scan_has_a_file_of_its_own(scan, expected) -> None:
    for name in ("image", f"{scan}_0001", f"{scan}_7TT2w"):
        path = derivative_path(Path("out"), Path(f"/data/{name}.nii.gz"), scan)
        assert path.parent == (Path("out") / expected).parent
        assert path.name.startswith(scan)
    assert derivative_path(Path("out"), Path("/data/image.nii.gz"), scan) == Path("out") / expected


@pytest.mark.parametrize("name", ["scan.png", "scan", ".nii.gz", "scan.nii.gz.txt"])
def test_other_files_are_refused(name) -> None:
    with pytest.raises(DerivativeError, match="not named like a volume"):
        derivative_path(Path("out"), Path(name))


def test_two_inputs_for_one_target_are_named() -> None:
    sources = [Path("a/sub-1_T2w.nii.gz"), Path("b/sub-1_desc-restore_T2w.nii.gz"), Path("c.nii")]
    with pytest.raises(DerivativeError, match=r"a/sub-1_T2w.* and b/sub-1_desc-restore_T2w"):
        plan_derivatives(Path("out"), sources)
    assert len(plan_derivatives(Path("out"), sources[1:])) == 2


def test_tables(tmp_path, space, labels) -> None:
    out = tmp_path / "out"
    for name in ("sub-02_ses-1_T2w.nii.gz", "sub-01_T2w.nii.gz", "x.nii.gz"):
        write_derivative(out, make_scan(tmp_path / "in" / name), labels, space, RUN)
    table = pd.read_csv(out / "desc-neoseg_dseg.tsv", sep="\t")
    assert table.columns.tolist() == ["index", "name", "abbreviation", "color"]
    assert table["index"].tolist() == [0, 11, 12, 40]
    assert table.loc[1].tolist() == [11, "Left part", "L", "#ff0000"]

    volumes = pd.read_csv(out / "desc-neoseg_volumes.tsv", sep="\t", keep_default_na=False)
    assert volumes.columns.tolist() == [
        *("file", "participant_id", "session_id", "L", "R", "CSF", "LR")
    ]
    assert volumes["participant_id"].tolist() == ["sub-01", "sub-02", "n/a"]
    assert volumes["session_id"].tolist() == ["n/a", "ses-1", "n/a"]
    ml = 30 * abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    assert volumes.loc[0, ["L", "R", "CSF", "LR"]].tolist() == pytest.approx([ml, ml, ml, 2 * ml])
    assert all((out / file).is_file() for file in volumes["file"])

    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert len(description["GeneratedBy"]) == 1
    entry = description["GeneratedBy"][0]
    assert (entry["Name"], entry["Version"]) == ("neoseg", "0.1.0")
    assert "iuc_draw0" in entry["Description"]
    assert [p.name for p in out.rglob(".*")] == [".bidsignore"]


def test_what_could_not_be_written_is_in_no_table(tmp_path, space, labels, monkeypatch) -> None:
    """The label map says that a scan is done, so all else must be there before it."""
    source = make_scan(tmp_path / "a.nii.gz")
    out = tmp_path / "out"
    target = write_derivative(out, source, labels, space, RUN)
    target.unlink()
    (out / "desc-neoseg_volumes.tsv").unlink()

    def fail(*_) -> None:
        assert not target.exists()
        raise OSError("disk full")

    monkeypatch.setattr("neoseg.inference.derivative.record_volumes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_derivative(out, source, labels, space, RUN)
    assert not target.exists()
    monkeypatch.setattr("neoseg.inference.derivative.nib.save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_derivative(out, source, labels, space, RUN)
    assert not (out / "desc-neoseg_volumes.tsv").exists()
    assert [p.name for p in out.rglob(".*")] == [".bidsignore"]


def test_a_second_prediction_replaces_the_first(tmp_path, space, labels) -> None:
    source = make_scan(tmp_path / "a.nii.gz")
    write_derivative(tmp_path / "out", source, labels, space, RUN)
    other = Provenance("neoseg", "0.2.0", "other")
    target = write_derivative(tmp_path / "out", source, np.full_like(labels, 3), space, other)
    assert np.unique(np.asarray(nib.load(target).dataobj)).tolist() == [40]
    volumes = pd.read_csv(tmp_path / "out" / "desc-neoseg_volumes.tsv", sep="\t")
    assert len(volumes) == 1
    assert volumes.loc[0, "L"] == 0
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert [entry["Version"] for entry in description["GeneratedBy"]] == ["0.1.0", "0.2.0"]


@pytest.mark.parametrize("units", ["meter", "micron", "unknown"])
def test_volumes_are_those_of_millimetres_whatever_the_unit(tmp_path, space, labels, units) -> None:
    """A header of other units contradicts its sizes; it once made volumes 10⁹ times as large."""
    source = make_scan(tmp_path / "a.nii.gz", units=units)
    write_derivative(tmp_path / "out", source, labels, space, RUN)
    volumes = pd.read_csv(tmp_path / "out" / "desc-neoseg_volumes.tsv", sep="\t")
    expected = 30 * abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    assert volumes.loc[0, "CSF"] == pytest.approx(expected, rel=1e-5)


def test_many_jobs_at_once_lose_no_row(tmp_path, space, labels) -> None:
    sources = [make_scan(tmp_path / "in" / f"scan{n}.nii.gz") for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda s: write_derivative(tmp_path / "out", s, labels, space, RUN), sources))
    assert len(pd.read_csv(tmp_path / "out" / "desc-neoseg_volumes.tsv", sep="\t")) == 12


def test_folders_of_others_are_left_alone(tmp_path, space, labels) -> None:
    source = make_scan(tmp_path / "sub-1_T2w.nii.gz")
    out = tmp_path / "bids"
    out.mkdir()
    (out / "dataset_description.json").write_text('{"Name": "mine"}')
    with pytest.raises(DerivativeError, match="that neoseg did not make"):
        write_derivative(out, source, labels, space, RUN)
    assert (out / "dataset_description.json").read_text() == '{"Name": "mine"}'
    assert not (out / "sub-1").exists()


def test_two_label_tables_do_not_mix(tmp_path, space, labels) -> None:
    source = make_scan(tmp_path / "sub-1_T2w.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "desc-neoseg_dseg.tsv").write_text("index\tname\n")
    with pytest.raises(DerivativeError, match="another label table than 'tiny'"):
        write_derivative(tmp_path / "out", source, labels, space, RUN)


def test_the_same_table_in_other_colours_is_no_other(tmp_path, space, labels) -> None:
    write_derivative(tmp_path, make_scan(tmp_path / "sub-1_T2w.nii.gz"), labels, space, RUN)
    table = tmp_path / "desc-neoseg_dseg.tsv"
    before = table.read_text()
    repainted = before.replace(space.leaves[1].color, "#010203")
    assert repainted != before
    table.write_text(repainted)
    write_derivative(tmp_path, make_scan(tmp_path / "sub-2_T2w.nii.gz"), labels, space, RUN)
    assert table.read_text() == repainted


def test_links_do_not_lead_out_of_the_output(tmp_path, space, labels) -> None:
    source = make_scan(tmp_path / "in" / "sub-1_T2w.nii.gz")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DerivativeError, match="leads out of"):
        write_derivative(tmp_path / "out", source, labels, space, RUN)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_input_is_never_overwritten(tmp_path, space, labels) -> None:
    source = make_scan(tmp_path / "sub-1" / "anat" / "sub-1_desc-neoseg_dseg.nii.gz")
    before = source.read_bytes()
    with pytest.raises(DerivativeError, match="overwritten by its own"):
        write_derivative(tmp_path, source, labels, space, RUN)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.transpose(2, 1, 0), "order of the file"),
        (lambda x: x[:-1], "on the grid of"),
        (lambda x: x + np.uint8(1), "positions 1 to 4, the table 'tiny' has 0 to 3"),
        (lambda x: x.astype(float), "whole numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, space, labels, change, message) -> None:
    source = make_scan(tmp_path / "a.nii.gz")
    with pytest.raises(DerivativeError, match=message):
        write_derivative(tmp_path / "out", source, change(labels), space, RUN)
    assert not (tmp_path / "out").exists()
