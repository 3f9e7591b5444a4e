"""One command for all: what it lists and starts, its help, its explanations, its completion."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from neoseg import __main__ as neoseg
from neoseg import completion
from neoseg.commands.entry import _message_of
from neoseg.commands.explain import explain
from neoseg.configuration.arguments import in_order
from neoseg.configuration.described import choices_of, comments_of, composed_commands, keys_of
from neoseg.configuration.help import help_text
from neoseg.configuration.overrides import explain_arguments
from neoseg.findings.settings import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def test_it_lists_every_module_that_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = neoseg.commands()
    assert {*composed_commands(), "losses", "explain", "completion"} <= found.keys()
    assert found["train"] == "Train a segmentation network"
    assert all(found.values())
    print(neoseg.overview())
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in found)


def test_it_starts_a_command_as_python_does(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(sys, "argv", ["neoseg", "train", "seed=1"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(
        "runpy.run_module", lambda name, **how: started.append((name, how, sys.argv[1:]))
    )
    neoseg.main()
    how = {"run_name": "__main__", "alter_sys": True}
    assert started == [("neoseg.train", how, ["seed=1"])]


def test_a_misspelt_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["neoseg", "trian"])
    with pytest.raises(SystemExit, match="2"):
        neoseg.main()
    assert "did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("train", "--cohort bids --cohort.root=/x", "cohort=bids cohort.root=/x"),
        ("train", "a=1 -m b=2", "a=1 b=2 -m"),
        ("train", "a=1 --config-dir my b=2 --cfg job", "a=1 b=2 --config-dir my --cfg job"),
        ("train", "--info b=2 --info defaults", "b=2 --info --info defaults"),
        ("train", "--experiment supervised", "+experiment=supervised"),
        ("train", "--compile seed=3", "compile=true seed=3"),
        ("train", "--extra-cohorts {}", "extra_cohorts={}"),
        ("train", "--multi seed=1,2", "seed=1,2 --multi"),
        ("train", "-sc query=bash", "query=bash -sc"),
        ("predict", "--run here --input a.nii --overwrite", "run=here input=a.nii overwrite=true"),
        ("train", "--run seed=1", "seed=1 --run"),
    ],
)
def test_settings_in_any_order_and_form(command: str, typed: str, meant: str) -> None:
    assert in_order(command, typed.split()) == meant.split()
    assert in_order(command, meant.split()) == meant.split()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--cohrt bids", "there is no option '--cohrt'.*key=value.*'cohort'"),
        ("--cohort", "'--cohort' has no value; write cohort=VALUE"),
        ("--seed compile=true", "'--seed' has no value"),
    ],
)
def test_the_right_form_is_told(typed: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        in_order("train", typed.split())


@pytest.mark.parametrize("command", ["evaluate", "predict", "train"])
def test_help_has_every_key_with_its_comment(command: str) -> None:
    told = help_text(command, ["--help"])
    assert told is not None
    comments = comments_of(command)
    keys = [key for key, places in keys_of(command).items() if "" in places]
    for key in keys:
        (line,) = [t for t in told.splitlines() if t.endswith(f"  # {comments[key]}")][:1]
        assert line.split(":")[0].strip() == key.rpartition(".")[2]
    assert "$" not in told.replace("${paths.data}", "")


def test_a_mapping_that_is_open_tells_its_form() -> None:
    told = explain_arguments("train", ["extra_cohorts={clinic: {weight: 2}}"])
    assert told is not None
    assert told.endswith("+extra_cohorts={clinic: {weight: 2}}")
    assert explain_arguments("train", ["+extra_cohorts={clinic: {weight: 2}}"]) is None
    assert explain_arguments("train", ["cluster=slurm", "cluster.options={a: 1}"]) is None


@pytest.mark.parametrize("line", ["loss=[nan]", "loss=[iuc,1]", "labels=9"])
def test_a_number_is_no_option(line: str) -> None:
    told = explain_arguments("train", ["+experiment=partial_iuc", line])
    assert told is not None
    assert "expected a name" in told


def test_help_is_about_what_is_chosen() -> None:
    told = str(help_text("train", ["cohort=bids", "seed=7", "--help", "-m"]))
    assert "[bids]" in told
    assert "image_desc: null  # desc- of the images where there are several" in told
    assert "seed: 7  # of the weights" in told
    assert help_text("train", ["cohort=bids"]) is None


def undocumented() -> Iterator[str]:
    for command in composed_commands():
        for key, comment in comments_of(command).items():
            group = key.partition(".")[0]
            below = key.startswith(("network.net.", "cohort.phantom.", "patches.mix."))
            if comment or below or group in ("labels", "loss") or key.endswith("_probability"):
                continue
            if key not in choices_of(command):
                yield f"{command}: {key}"


def test_every_key_has_a_comment() -> None:
    assert not list(undocumented())


def values(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the words that keys can be set to, of a model and those in it."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        parts = [field.annotation, *get_args(field.annotation)]
        words = [w for p in parts if str(get_origin(p)) == "typing.Literal" for w in get_args(p)]
        yield key, [str(word) for word in words]
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from values(part, f"{key}.")


def test_comments_name_all_values() -> None:
    from neoseg.configuration.run import RunConfig

    comments, keys = comments_of("train"), keys_of("train")
    checked = 0
    for key, words in values(RunConfig):
        if key in keys and words:
            places = keys[key].values()
            said = " ".join([comments[key], *(f"{p.value} {p.comment}" for p in places)])
            assert not [word for word in words if word not in said], key
            checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    ("word", "lines"),
    [
        ("patches.size", ["patches.size: voxels along left-right", "patches=gpu: [128,128,128]"]),
        ("warmup_steps", ["optimizer.warmup_steps: linear", "conf/optimizer/adamw.yaml"]),
        ("window", ["window.overlap=0.5  # share", "neoseg predict"]),
        ("seed=3", ["seed: of the weights", "conf/train.yaml"]),
        ("cohort", ["* phantom", "bids", "Any folder of BIDS derivatives"]),
        ("cohort=bids", ["cohort.root=...  # the folder that holds sub-*"]),
        ("+experiment=partial_iuc", ["conf/experiment/partial_iuc.yaml"]),
        ("loss.class_masked.bce", ["weight of this part", "the source of loss=class_masked"]),
        ("missing_modality.policy", ["dropout: the same, and training hides"]),
    ],
)
def test_explain(word: str, lines: list[str]) -> None:
    told = explain(word)
    assert all(line in told for line in lines), told


@pytest.mark.parametrize(
    ("word", "says"),
    [("patches.sise", "'patches.size'"), ("cohort=bidz", "'bids'"), ("optimiser", "'optimizer'")],
)
def test_explain_names_what_is_near(word: str, says: str) -> None:
    with pytest.raises(LookupError, match=says):
        explain(word)


COMPLETED = """
neoseg() { "$PYTHON" -m neoseg "$@"; }
eval "$(neoseg completion)"
complete() {
    COMP_LINE="$1"; COMP_POINT=${#1}; COMP_CWORD=$2; _neoseg
    echo "${#COMPREPLY[@]} ${COMPREPLY[@]}"
}
complete "neoseg pre" 1
complete "neoseg train cohort=bi" 4
cd "$FOLDER"
complete "neoseg predict input=./" 4
complete "neoseg losses " 2
ls
"""


def test_the_shell_completes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And does not execute what stands in names of files."""
    names = ["$(touch${IFS}run).nii", "b.nii"]
    for name in names:
        (tmp_path / name).touch()
    environment = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    environment["FOLDER"] = str(tmp_path)
    subprocess.run(["bash", "-c", COMPLETED], env=environment, check=True)
    commands, groups, files, nothing, *there = capfd.readouterr().out.splitlines()
    assert (commands, groups, nothing) == ("2 predict prepare", "1 bids", "0 ")
    assert files.split() == ["2", *(f"./{name}" for name in names)]
    assert there == names
    assert "python -m neoseg.completion" in str(completion.__doc__)


@pytest.mark.parametrize("arguments", [["neoseg", "--help"], ["neoseg.train", "--help"]])
def test_a_reader_that_leaves_ends_a_command_quietly(arguments: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()  # as head does once it has its lines
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_command_in_a_folder_that_is_gone_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'rmdir "{gone}" && exec "{sys.executable}" -m neoseg.train --help'
    done = subprocess.run(["sh", "-c", line], cwd=gone, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is gone; cd into another one" in done.stderr


def test_a_log_file_that_cannot_be_written_is_a_fault_of_the_file_system() -> None:
    """As of `resume=` on a read-only disk, where Hydra opens the log before anything else."""
    error = ValueError("Unable to configure handler 'file'")
    error.__cause__ = OSError(errno.EROFS, "Read-only file system", "/r/train.log")
    message = _message_of(error)
    assert message is not None
    assert message.startswith("/r/train.log cannot be read or written: Read-only file system")


def test_a_training_outlives_the_reader_of_its_output() -> None:
    code = (
        "from neoseg.terminal import outlive_readers; import os, sys, time; outlive_readers();"
        "print('first', flush=True); time.sleep(0.5);"
        "print('more', flush=True); sys.stderr.write('alive')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        assert process.stderr.read() == b"alive"
    assert process.returncode == 0
