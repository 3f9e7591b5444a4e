from __future__ import annotations

from pathlib import Path

import pytest

from neoseg.inference.origin import Origin, makers_of


def run(folder: Path, weights: str) -> Path:
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(weights)
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> list[Path | None]:
    (tmp_path / "T2w.nii").write_text("voxels")
    return [tmp_path / "T2w.nii", None]


def test_weights_settings_and_files_count(tmp_path: Path, scan: list[Path | None]) -> None:
    target = tmp_path / "a_dseg.nii.gz"
    origin = Origin.of("A", [run(tmp_path / "A", "weights")], {"overlap": 0.5})
    assert origin.look(target, scan) == "absent"
    target.write_text("labels")
    assert origin.look(target, scan) == "untold"
    origin.keep(target, scan)
    assert (tmp_path / "a_dseg.json").is_file()
    assert origin.look(target, scan) == "same"

    moved = [run(tmp_path / "moved", "weights")]
    assert Origin.of("moved", moved, {"overlap": 0.5}).look(target, scan) == "same"
    assert Origin.of("A", moved, {"overlap": 0.25}).look(target, scan) == "changed"
    trained_on = [run(tmp_path / "A", "trained on")]
    assert Origin.of("A", trained_on, {"overlap": 0.5}).look(target, scan) == "changed"
    other = [run(tmp_path / "sweep" / "A", "of another seed")]
    for name in "AB":  # jobs of two sweeps may have one name
        assert Origin.of(name, other, {"overlap": 0.5}).look(target, scan) == "other run"
    assert scan[0] is not None
    scan[0].write_text("VOXELS")  # of one size
    assert origin.look(target, scan) == "changed"
    assert origin.look(target, [*scan, tmp_path / "a_dseg.json"]) == "changed"
    target.write_text("drawn by hand")
    assert origin.look(target, scan) == "untold"


def test_an_interruption_between_sidecar_and_label_map_is_noticed(
    tmp_path: Path, scan: list[Path | None]
) -> None:
    target, coming = tmp_path / "a_dseg.nii.gz", tmp_path / "coming"
    origin, other = Origin("A", ("w",), "s"), Origin("B", ("v",), "s")
    coming.write_text("labels")
    origin.keep(target, scan, coming=coming)
    assert origin.look(target, scan) == "absent"
    target.write_text("labels")  # it came, and nothing after it
    assert origin.look(target, scan) == "same"

    coming.write_text("of other weights")
    other.keep(target, scan, coming=coming)
    assert makers_of(target) == ()
    assert other.look(target, scan) == "absent"
    assert origin.look(target, scan) == "other run"
    target.write_text("drawn by hand")
    assert other.look(target, scan) == "untold"
    target.write_text("of other weights")
    assert other.look(target, scan) == "same"
    assert makers_of(target) == ("v", "s")
    other.keep(target, scan)
    target.write_text("labels")  # of before, but by somebody who wants it so
    assert other.look(target, scan) == "untold"


def test_only_other_makers_clash(tmp_path: Path, scan: list[Path | None]) -> None:
    target, coming = tmp_path / "a_dseg.nii.gz", tmp_path / "coming"
    coming.write_text("labels")
    origin = Origin("A", ("w",), "s")
    assert not origin.clashes(target, scan)
    for finished in (False, True):
        origin.keep(target, scan, coming=None if finished else coming)
        assert not origin.clashes(target, scan)
        assert Origin("A", ("w",), "t").clashes(target, scan)
        assert Origin("A", ("v",), "s").clashes(target, scan)
        target.write_text("labels")


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00", '{"labels": 3}'])
def test_a_damaged_note_tells_nothing(
    tmp_path: Path, scan: list[Path | None], content: str
) -> None:
    target = tmp_path / "a_dseg.nii.gz"
    target.write_text("labels")
    (tmp_path / "a_dseg.json").write_text(content)
    assert Origin("A", ("w",), "s").look(target, scan) == "untold"


def test_a_scan_of_another_folder_with_the_same_name_is_another(tmp_path: Path) -> None:
    target = tmp_path / "T2_dseg.nii.gz"
    origin = Origin("A", ("w",), "s")
    for person in ("one", "other", "copy"):
        (tmp_path / person).mkdir()
        (tmp_path / person / "T2.nii").write_text("other" if person == "other" else "one")
    target.write_text("labels")
    origin.keep(target, [tmp_path / "one" / "T2.nii"])
    assert str(tmp_path) not in (tmp_path / "T2_dseg.json").read_text()
    assert origin.look(target, [tmp_path / "other" / "T2.nii"]) == "other scan"
    assert origin.look(target, [tmp_path / "copy" / "T2.nii"]) == "same"
    target.write_text("drawn by hand")
    assert origin.look(target, [tmp_path / "other" / "T2.nii"]) == "other scan"
    assert origin.look(target, [tmp_path / "one" / "T2.nii"]) == "untold"
