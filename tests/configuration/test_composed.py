"""Command lines composed as Hydra composes them."""

from __future__ import annotations

from pathlib import Path

from neoseg.configuration.composed import composed, with_folder


def test_a_config_folder_joins_the_search_path(tmp_path: Path) -> None:
    for name in ("own", "more, too"):
        folder = tmp_path / name / "labels"
        folder.mkdir(parents=True)
        table = "{name: t, leaves: [{index: 0, name: A, abbreviation: A}]}\n"
        (folder / f"{name[:3]}_table.yaml").write_text(table)
    own, more = tmp_path / "own", tmp_path / "more, too"
    words = [f"--config-dir={own}", f'hydra.searchpath=["file://{more}"]']
    for table in ("own_table", "mor_table"):
        config = composed("train", [*words, f"labels={table}"])
        assert config is not None
        assert config.hydra.runtime.choices["labels"] == table
    assert composed("train", [*words[:1], "labels=mor_table"]) is None
    assert with_folder(["seed=1"], None) == ["seed=1"]
