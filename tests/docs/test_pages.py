"""The pages: links lead somewhere, commands compose and parse, snippets run, the site is built."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from pages import ELSEWHERE, PAGES, ROOT, STARTS, fenced, said
from tiny_run import TINY, train

from neoseg.__main__ import commands
from neoseg.configuration.arguments import in_order
from neoseg.configuration.config import CONFIG_DIR
from neoseg.configuration.described import composed_commands
from neoseg.configuration.nodes import register_nodes
from neoseg.configuration.path_values import with_quoted_paths
from neoseg.configuration.run import RunConfig
from neoseg.labels import UNKNOWN, Codebook, LabelSpace
from neoseg.losses import Objective

LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
QUOTED = re.compile(r"`('?[\w.]+=[^`]*')`")
COMMANDS = sorted({line for page in PAGES for line in said(page)})
MADE = ("figures/label-sets.svg", "commands.md", "keys.md", "losses.md", "changes.md")


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    lost = [t for t in targets if not t.endswith(MADE) and not (page.parent / t).exists()]
    assert lost == []


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 25
    assert {"train", "prepare", "predict", "report"} <= {
        STARTS.match(line)[1]  # type: ignore[index]
        for line in COMMANDS
    }


@pytest.mark.parametrize("line", [one for one in COMMANDS if any(e in one for e in ELSEWHERE)])
def test_a_command_that_is_run_elsewhere_composes_and_parses(line: str, tmp_path: Path) -> None:
    found = STARTS.match(line)
    assert found is not None
    command, words = found[1], shlex.split(found[2], comments=True)
    assert command in commands()
    if command not in composed_commands():
        return
    words = in_order(command, [word for word in words if word != "…"])
    words = [word for word in words if not word.startswith("-")]
    words = [word for word in words if not word.endswith("my_conf")]
    register_nodes()
    overrides = []
    for item in OverridesParser.create().parse_overrides(words):
        if item.is_sweep_override():  # the first choice stands for all
            first = next(item.sweep_string_iterator())
            overrides.append(f"{item.get_key_element()}={first}")
        else:
            overrides.append(item.input_line or "")
    # What is the reader's own is any other here.
    overrides = [item.replace("[squared]", "[bce]") for item in overrides]
    overrides = [re.sub(r"^labels=(mine)$", "labels=hippocampus", item) for item in overrides]
    if any(item.startswith("resume=") for item in overrides):
        return  # its keys are those of the run
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(command, [*overrides, f"++paths.data={tmp_path}"])
    if command == "train" and "plan.yaml" not in line:
        RunConfig.parse(config)


def test_settings_in_quotes_are_read_as_they_stand() -> None:
    found = [text for page in PAGES for text in QUOTED.findall(page.read_text(encoding="utf-8"))]
    assert found
    for text in found:
        OverridesParser.create().parse_overrides(with_quoted_paths(shlex.split(text)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny finished run."""
    folder = tmp_path_factory.mktemp("page")
    register_nodes()
    words = ["+experiment=supervised", *TINY, "logger=csv", "score=false", "pictures=0"]
    words += ["patches.steps_per_epoch=1", "trainer.max_epochs=1", f"paths.data={folder}/data"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", words), folder / "run")
    return folder


def test_no_other_page_has_python() -> None:
    ours = {"library.md", "own-parts.md"}
    assert {p.name for p in PAGES if "```python" in p.read_text(encoding="utf-8")} == ours


def test_the_files_of_the_organs_are_those_of_their_page() -> None:
    folder = ROOT / "experiments/organs/conf"
    files = [folder / "labels/organs.yaml", folder / "experiment/organs.yaml"]
    assert fenced("howto/organs.md", "yaml") == [path.read_text(encoding="utf-8") for path in files]


def test_the_library_does_what_its_page_shows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = next((run / "data").rglob("*_desc-restore_T2w.nii.gz"))
    shutil.copy(scan, run / "scan_T2w.nii.gz")
    monkeypatch.chdir(run)
    logits = torch.zeros(2, 11, 4, 4, 4, requires_grad=True)
    labels = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    text = "\n".join(fenced("tutorials/library.md", "python"))
    names = {"labels": labels, "logits": logits, "RUN_DIR": run / "run"}
    exec(compile(text, "library.md", "exec"), names)
    leaves = eval(text.strip().splitlines()[-1].partition("#")[0], names)
    assert np.shape(leaves) == nib.load(scan).shape
    assert logits.grad is not None


def test_the_loss_of_the_page_learns_from_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawem9: LabelSpace
) -> None:
    (tmp_path / "page_loss.py").write_text("\n".join(fenced("tutorials/own-parts.md", "python")))
    monkeypatch.syspath_prepend(tmp_path)
    book = Codebook.build(drawem9, [drawem9.label_set("TCV")])
    asked = {"squared": {"_target_": "page_loss.Squared"}}
    objective = Objective(asked, book, "multilabel", allow=["page_loss"])
    logits = torch.zeros(1, drawem9.num_classes, 2, 1, 1, requires_grad=True)
    codes = torch.tensor([[[[UNKNOWN]], [[book.size - 1]]]], dtype=torch.uint8)
    loss = objective(logits, codes)
    loss.backward()
    assert loss.item() == pytest.approx(0.25)  # .5 away from every known class
    assert logits.grad is not None
    assert not logits.grad[0, :, 0].any()  # nothing is known there
    part = drawem9.label_set("TCV")
    assert not logits.grad[0, sorted(part), 1].any()  # open
    assert logits.grad[0, -1, 1] < 0  # the whole is in


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference/losses/index.html").read_text(encoding="utf-8")
    assert "marginal_ce" in page
    assert (tmp_path / "figures/label-sets.svg").is_file()
    # Nothing is fetched from elsewhere when a page is opened.
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://(?!neoseg)[^"]+', start)
