"""C files of the package are compiled once, and nothing breaks where they cannot be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from neoseg import c_code
from neoseg.c_code import BuildError, build, find_compiler, load


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.c"
    path.write_text("int answer(void) { return 42; }\n")
    return path


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(c_code.SWITCH, raising=False)
    load.cache_clear()
    c_code._tell.cache_clear()
    yield tmp_path / "cache" / "neoseg"
    load.cache_clear()
    c_code._tell.cache_clear()


@pytest.fixture
def compiler() -> None:
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("compiler")
def test_it_is_compiled_once(source: Path, cache: Path) -> None:
    assert build(source, (), cache).answer() == 42
    (made,) = cache.iterdir()
    stamp = made.stat().st_mtime_ns
    assert build(source, (), cache).answer() == 42
    assert made.stat().st_mtime_ns == stamp


@pytest.mark.usefixtures("compiler")
def test_another_text_or_other_flags_are_compiled_anew(source: Path, cache: Path) -> None:
    build(source, (), cache)
    build(source, ("-DNOTHING",), cache)
    source.write_text("int answer(void) { return 43; }\n")
    assert build(source, (), cache).answer() == 43
    assert len(list(cache.iterdir())) == 3


def test_without_a_compiler_one_note_says_so(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    other = source.with_name("other.c")
    other.write_text(source.read_text())
    with caplog.at_level(logging.WARNING):
        assert [load(path, ()) for path in (source, other, source)] == [None] * 3
    assert len(caplog.records) == 1
    assert "CC is 'no-such-compiler', which is not a command" in caplog.text
    assert "They need a C compiler" in caplog.text
    assert not cache.exists()


def test_a_process_that_does_a_part_of_the_work_leaves_the_note_to_its_parent(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(c_code, "parent_process", lambda: object())
    with caplog.at_level(logging.INFO):
        assert load(source, ()) is None
    assert not caplog.records


def test_a_compiler_that_fails_is_reported(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = source.with_name("broken")
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "no such target" >&2\nexit 1\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    assert load(source, ()) is None
    assert "no such target" in caplog.text
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("compiler")
def test_a_file_that_was_cut_off_is_compiled_again(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles, written = c_code._compile, []

    def cut_off_once(command: list[str], target: Path) -> None:
        compiles(command, target)
        if not written:
            target.write_bytes(target.read_bytes()[:100])
        written.append(target)

    monkeypatch.setattr(c_code, "_compile", cut_off_once)
    assert build(source, (), cache).answer() == 42
    assert len(written) == 2


def test_a_user_without_a_home_is_told_what_to_set(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert load(source, ()) is None
    assert "set XDG_CACHE_HOME" in caplog.text


def test_it_can_be_switched_off(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(c_code.SWITCH, "0")
    with caplog.at_level(logging.WARNING):
        assert load(source, ()) is None
    assert not caplog.records
