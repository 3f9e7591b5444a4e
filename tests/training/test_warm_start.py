"""Starting from a network with other labels: modules, files, and one run."""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from small_module import DEEP, make_module
from tiny_run import load_module, train

from neoseg.audit.__main__ import main as audit
from neoseg.configuration.run import RunConfig
from neoseg.findings.settings import ConfigError
from neoseg.runs import run as runs
from neoseg.runs.people import seen_by, write_seen
from neoseg.store import DataError
from neoseg.store.arrays import open_array
from neoseg.training.module import SegmentationModule
from neoseg.training.parts import groups
from neoseg.training.warm_start import Source, _match_keys, report_table, start


def source_of(module: SegmentationModule) -> Source:
    return Source(
        "old", "0" * 32, module.network.state_dict(), module.spec.channel_names, module.head
    )


def same(one: Any, other: Any) -> bool:
    there, here = one.state_dict(), other.state_dict()
    return there.keys() == here.keys() and all(torch.equal(there[k], here[k]) for k in there)


def test_the_same_network_is_taken_whole() -> None:
    torch.manual_seed(1)
    old = make_module()
    torch.manual_seed(2)
    new = make_module(
        teacher={"always": True}, loss={"iuc": {"weight": 1.0}, "cross_pseudo": {"weight": 1.0}}
    )
    report = start(new, source_of(old), None)
    assert same(new.network, old.network)
    assert new.peer is not None
    assert same(new.peer, old.network)
    assert new.teacher is not None
    assert same(new.teacher.average.module, old.network)
    assert {row["from"] for row in report["classes"]} == {row["class"] for row in report["classes"]}
    assert report_table(report).row_count == 1 + len(report["classes"])


def test_deep_supervision_can_come_and_go() -> None:
    shallow = {**DEEP, "net": {**DEEP["net"], "deep_supervision": False}}
    for there, here in ((DEEP, shallow), (shallow, DEEP)):
        old, new = make_module(network=there), make_module(network=here)
        report = start(new, source_of(old), None)
        assert all(
            "deep_supervision_heads" in name or "super_head" in name for name in report["drawn"]
        )
        assert report["share"] > 0.9


def test_nothing_is_drawn_on_the_way() -> None:
    old, new = make_module(), make_module()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    start(new, source_of(old), None)
    assert torch.equal(torch.rand(3), expected)


def test_another_network_is_one_message() -> None:
    with pytest.raises(ConfigError, match="init_from=old is another network: of the"):
        start(make_module(network=DEEP), source_of(make_module()), None)


def test_parts_that_stay_and_parts_that_are_slower() -> None:
    module = make_module(init={"freeze": ["body"]})
    learning = {n for n, w in module.network.named_parameters() if w.requires_grad}
    assert learning
    assert all(".2." in n or n.startswith("model.2") for n in learning)

    module = make_module(init={"rates": {"head": 1.0, "model.0.*": 0.5, "body": 0.1}})
    found: list[Any] = list(groups(module.spec.init, module.network, 2.0, module.another))
    assert [group["lr"] for group in found] == [2.0, 1.0, 0.2]
    sizes = sum(len(group["params"]) for group in found)
    assert sizes == len(list(module.network.parameters()))


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ({"freeze": ["modl.*"]}, r"names 'modl\.\*', and no weight"),
        ({"freeze": ["*"]}, "leaves no weight that learns"),
    ],
)
def test_parts_that_are_not_there(init: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_module(init=init)


class TestFiles:
    def test_weights_of_another_project(self, tmp_path: Path) -> None:
        torch.manual_seed(1)
        old = make_module()
        weights = {f"module.{k}": v for k, v in old.network.state_dict().items()}
        torch.save({"state_dict": weights}, tmp_path / "model.pt")
        source = Source.read(str(tmp_path / "model.pt"))
        torch.manual_seed(2)
        new = make_module()
        report = start(new, source, None)
        drawn = report["drawn"][-1]
        names = new.network.state_dict()
        kept = next(k for k in names if k not in report["drawn"])
        assert torch.equal(names[kept], old.network.state_dict()[kept])
        assert not torch.equal(names[drawn], old.network.state_dict()[drawn])
        assert {row["from"] for row in report["classes"]} == {"drawn"}

    def test_code_in_a_file_is_not_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "ran",))

        torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
        (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": Evil()}))
        for name in ("evil.pth", "old.pth"):
            with pytest.raises(ConfigError, match=f"init_from: .*{name}"):
                Source.read(str(tmp_path / name))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "content", [{"a": 1}, {}, torch.zeros(3), {"state_dict": {"w": torch.tensor([torch.nan])}}]
    )
    def test_files_that_do_not_fit(self, content: Any, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "f.pt")
        with pytest.raises(ConfigError, match=r"f\.pt"):
            Source.read(str(tmp_path / "f.pt"))

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is nothing of that name"):
            Source.read(str(tmp_path / "no"))


def test_a_run_starts_from_another_and_goes_on_without_it(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """Both in one, since each training costs seconds."""
    old, new = tmp_path / "old", tmp_path / "new"
    short = ("supervised", "patches.steps_per_epoch=1", "trainer.max_epochs=1")
    train(configured(*short), old)
    arguments = ("seed=7", f"init_from={old}", "optimizer.lr=1e-12", "init.rates={body: 0.5}")
    train(configured(*short, *arguments), new)
    there, here = (load_module(run).network.state_dict() for run in (old, new))
    assert all(torch.allclose(there[name], here[name], atol=1e-6) for name in there)
    record = json.loads((new / "run.json").read_text())
    assert record["init"]["from"] == str(old)
    assert record["init"]["share"] > 0.9
    assert "started_from" in json.loads((new / "card.json").read_text())["training"]

    old.rename(tmp_path / "gone")
    (new / "run.json").unlink()
    run = RunConfig.parse(configured(*short, *arguments, "trainer.max_epochs=2"))
    runs.train(run, new, resuming=True)
    assert json.loads((new / "run.json").read_text())["steps"] == 2


def test_people_of_the_source_are_not_in_the_test(
    configured: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By id and by image, also if the network in between has seen none of them."""
    short = ("supervised", "patches.steps_per_epoch=1", "trainer.max_epochs=1")
    old, new, last = (tmp_path / name for name in ("old", "new", "last"))
    train(configured(*short), old)
    other = (*short, f"init_from={old}", "split.seed=3")
    for leaks in ("stop", "namesakes"):  # the ids, and the images
        with pytest.raises(DataError, match="which is for the training of") as caught:
            train(configured(*other, f"leaks={leaks}", "score=true"), tmp_path / leaks)
    keys = re.findall(r"\(split=file (.*?)\)", str(caught.value))[0].split()
    folds = ("recipe=folds", "recipe.folds=2", *short[1:], f"init_from={old}")
    with pytest.raises(DataError, match="leave init_from out, as folds score"):
        train(configured("full_supervision", *folds), tmp_path / "folds")
    train(configured("supervised", "split=file", *short[1:], f"init_from={old}", *keys), new)
    assert (new / "split.csv").read_text() == (old / "split.csv").read_text()

    seen = {member.scan.subject for member in seen_by(old)}
    old.rename(tmp_path / "gone")
    (new / "annotation.csv").write_text((new / "annotation.csv").read_text().splitlines()[0])
    assert {member.scan.subject for member in seen_by(new)} == seen
    onwards = (*short, f"init_from={new}", "split.seed=3")
    with pytest.raises(DataError, match="which is for the training of"):
        train(configured(*onwards), last)
    caplog.clear()
    train(configured(*onwards, "leaks=tell"), last)
    assert "which is for the training of" in caplog.text

    for text in ("[1]", '{"from": "a", "scans": [["c", "s", null, "train", "d", "AAAA"]]}'):
        (new / "seen.json").write_text(text)
        with pytest.raises(ConfigError, match=r"seen\.json is not what a run writes"):
            seen_by(new)


def test_people_of_the_source_in_the_validation_are_told_and_not_audited(
    configured: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    old, new, table = tmp_path / "old", tmp_path / "new", tmp_path / "split.csv"
    short = ("patches.steps_per_epoch=1", "trainer.max_epochs=1", f"init_from={old}")
    train(configured("full_supervision", *short[:2]), old)
    keys = ("split=file", f"split.file={old / 'split.csv'}")
    train(configured("full_supervision", *short, *keys), tmp_path / "alike")
    assert "in two parts" not in caplog.text
    split = pd.read_csv(old / "split.csv", dtype=str)
    learnt, validated = (split.index[split["split"] == part][0] for part in ("train", "val"))
    split.loc[[learnt, validated], "split"] = ["val", "train"]
    split.to_csv(table, index=False)
    train(configured("full_supervision", *short, "split=file", f"split.file={table}"), new)
    assert re.search("is for val and has the subject id of .*for the training of", caplog.text)
    monkeypatch.setattr(sys, "argv", ["audit", f"run={new}", "device=cpu", "most=0"])
    GlobalHydra.instance().clear()
    audit()
    judged = {path.stem for path in (new / "audit" / "measures").rglob("*.json")}
    assert judged
    assert not any(split["subject"][learnt] in name for name in judged)


def test_what_another_source_has_seen_is_not_believed(
    configured: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """A first try in this folder, which failed, had started from another network."""
    short = ("supervised", "patches.steps_per_epoch=1", "trainer.max_epochs=1")
    train(configured(*short), tmp_path / "old")
    write_seen(tmp_path / "new", "another", [])
    with pytest.raises(DataError, match="which is for the training of"):
        train(configured(*short, f"init_from={tmp_path / 'old'}", "split.seed=3"), tmp_path / "new")


def test_weights_that_do_not_tell_whom_they_have_seen_are_a_warning(
    configured: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ("supervised", "patches.steps_per_epoch=1", "trainer.max_epochs=1")
    train(configured(*short), tmp_path / "old")
    state = load_module(tmp_path / "old").network.state_dict()
    torch.save(state, tmp_path / "old.pt")
    train(configured(*short, f"init_from={tmp_path / 'old.pt'}"), tmp_path / "new")
    assert "does not record on whom it was trained" in caplog.text


def test_init_without_a_start_is_an_error(configured: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigError, match="init_from is null"):
        RunConfig.parse(configured("supervised", "init.freeze=[body]"))


def test_classes_are_added_to_an_older_network(
    configured: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It labels scans of which nothing is known, and is not needed to go on."""
    short = ("patches.steps_per_epoch=1", "trainer.max_epochs=1")
    old, new = tmp_path / "old", tmp_path / "new"
    train(configured("supervised", *short), old)
    more = ("annotation=unlabelled", "annotation.full_fraction=0.4", "recipe=add_classes")
    run = (*short, *more, f"init_from={old}", "recipe.min_confidence=0")
    with pytest.raises(ConfigError, match=r"recipe\.teacher is source"):
        RunConfig.parse(configured("label_set", *short, *more))
    train(configured("label_set", *run), new)
    told = json.loads((new / "source.json").read_text())["said"]
    assert told == [[leaf] for leaf in range(len(told))]
    assert list((new / "stages" / "1" / "codes").glob("*/codes.b2nd"))

    other = ("store.normalise=window", "store.window=[0,1000]", "store.crop_margin=2")
    there, here = "store.normalise=zscore store.window=null", "'store.window=[0,1000]'"
    with pytest.raises(ConfigError, match=rf"with {there}, .*{re.escape(here)}; set {there},"):
        train(configured("label_set", *run, *other), tmp_path / "other")

    split = tmp_path / "split"
    divide = ("recipe=split_classes", "init.map={dGM: [WM, dGM]}")  # its white matter is either
    monkeypatch.setattr("neoseg.labelling.atlas.MIN_FIT", 0.0)  # the old network knows too little
    train(configured("label_set", *run, *divide), split)
    white = load_module(split).space.label_set("WM")
    said = [set(leaves) for leaves in json.loads((split / "source.json").read_text())["said"]]
    assert white not in said  # so that only the registered scans can tell it
    files = (split / "stages" / "1" / "codes").glob("*/codes.b2nd")
    assert any((open_array(path)[:] == min(white) + 1).any() for path in files)

    old.rename(tmp_path / "gone")
    (new / "run.json").unlink()
    again = RunConfig.parse(configured("label_set", *run, "trainer.max_epochs=2"))
    runs.train(again, new, resuming=True)
    assert json.loads((new / "run.json").read_text())["steps"] == 2


def test_images_that_are_called_otherwise_are_told(caplog: pytest.LogCaptureFixture) -> None:
    new = make_module(modalities=("0", "1"))
    old = replace(source_of(make_module(modalities=("T2w", "T1w"))), images=("T2w", "T1w"))
    report = start(new, old, None)
    assert {row["from"] for row in report["images"] if row["image"] in "01"} == {"mean of T2w, T1w"}
    assert 'cohort.modalities=["T2w","T1w"]' in caplog.text
    caplog.clear()
    start(make_module(modalities=("T2w", "T1w")), old, None)
    assert not caplog.records


def test_flags_of_images_start_at_nothing() -> None:
    new = make_module(modalities=("T2w", "T1w"), missing_modality={"policy": "dropout"})
    report = start(new, replace(source_of(make_module()), images=("MRI",)), None)
    origin = {row["image"]: row["from"] for row in report["images"]}
    assert origin == {
        **dict.fromkeys(("T2w", "T1w"), "mean of MRI"),
        "T1w?": "added, starts at nothing",
    }


@pytest.mark.parametrize("prefix", ["net.", "model."])
def test_weights_below_an_attribute_of_a_wrapper(prefix: str, tmp_path: Path) -> None:
    """As in checkpoints of Lightning, with settings of another project and its metrics."""
    torch.manual_seed(1)
    old, reports = make_module().network.state_dict(), []
    for name in ("", prefix):
        weights = {name + key: value for key, value in old.items()}
        content = {"state_dict": {**weights, "metric.count": torch.zeros(1)}, "epoch": 3}
        torch.save({**content, "hyper_parameters": {"lr": 0.1}}, tmp_path / "theirs.ckpt")
        new = make_module()
        reports.append(start(new, Source.read(str(tmp_path / "theirs.ckpt")), None))
        assert torch.equal(new.network.state_dict()["model.0.conv.bias"], old["model.0.conv.bias"])
    assert reports[0]["share"] == reports[1]["share"]
    assert reports[0]["drawn"] == reports[1]["drawn"]


def test_of_the_parts_of_a_file_the_one_with_most_names_is_taken() -> None:
    ours = {"network.a", "network.b", "final.a"}
    weights = {name: torch.zeros(1) for name in ours}
    assert _match_keys(weights, weights) == weights, "a network that has an attribute network"
    small = {"a": torch.ones(1), "b": torch.ones(1)}
    theirs = {**{f"ema.{k}": v for k, v in small.items()}, "model.a": torch.zeros(1)}
    assert _match_keys(theirs, {f"network.{k}": v for k, v in small.items()}) == {
        "network.a": small["a"],
        "network.b": small["b"],
    }


def test_what_holds_no_weights_says_where_they_are(tmp_path: Path) -> None:
    program = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(program, tmp_path / "model.ts")
    with pytest.raises(ConfigError, match=r"it is a program \(TorchScript\).*state_dict\(\)"):
        Source.read(str(tmp_path / "model.ts"))
    (tmp_path / "models").mkdir()
    torch.save({}, tmp_path / "models" / "model.pt")
    with pytest.raises(ConfigError, match=r"of a MONAI bundle; name .*models/model.pt"):
        Source.read(str(tmp_path))
