"""`config.yaml` of a stranger: resolvers, tags, growth, targets and odd values."""

from __future__ import annotations

from typing import Any

import pytest
from honest import config, data_config, write_config

from neoseg.commands.evaluating import EvaluateConfig
from neoseg.configuration.resume import resumed
from neoseg.evaluation.card import write_card
from neoseg.evaluation.report.collect import collect
from neoseg.runs.loading import load_config

RESOLVERS = (
    "${oc.env:CANARY}",
    "${oc.env:CANARY,x}",
    "a ${oc.env:CANARY} b",
    "${ oc.env:CANARY }",
    "${oc.env: CANARY }",
    "${oc.env:${oc.env:X,CANARY}}",
    "${oc.${m}:CANARY}",
    "${${m}.env:CANARY}",
    "${oc.create:{_target_: os.system, command: 'touch mark'}}",
    "${oc.${c}:{_target_: os.system, command: 'touch mark'}}",
    "${oc.decode:'${oc.env:CANARY}'}",
    "${oc.deprecated:name}",
    "${oc.select:name}",
    "${oc.dict.values:labels}",
    "${first:'',${oc.env:CANARY}}",
    "${job_name:[x],[]}",
    "${hydra:runtime.cwd}",
    "${now:%Y}",
    "\\${oc.env:CANARY}",
    "\\\\${oc.env:CANARY}",
    "$${oc.env:CANARY}",
    "${dollar}{oc.env:CANARY}",
    "${dollar}${open}oc.env:CANARY}",
    "${part}CANARY}",
    "${..m}",
    "${.m}",
    "${m[0]}",
    "${oc.env:CANARY",
    "${oc\n.env:CANARY}",
    "${self}",
)
PARTS = '\nm: env\nc: create\ndollar: "$"\nopen: "{"\npart: "$"\nself: ${self}\n'

DOCUMENTS = {
    "apply": "x: !!python/object/apply:os.system ['touch mark']",
    "new": "x: !!python/object/new:os.system ['touch mark']",
    "name": "x: !!python/name:os.system",
    "module": "x: !!python/module:os",
    "tuple": "x: !!python/tuple [1]",
    "pairs": "x: !!pairs [a: '${oc.env:CANARY}']",
    "omap": "x: !!omap [a: '${oc.env:CANARY}']",
    "set": "x: !!set {a: null}",
    "binary": "x: !!binary aGVsbG8=",
    "timestamp": "x: !!timestamp 2026-01-01",
    "own tag": "x: !mine {a: 1}",
    "tag of strings": "x: !!str {a: 1}",
    "merge of an alias": "y: &y {a: 1}\nx: {<<: *y}",
    "alias of itself": "x: &x [*x]",
    "laughs": "a0: &a0 [x, x]\n"
    + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)),
    "laughs of text": f"a: &a {'x' * 10**5}\nx: [{', '.join(['*a'] * 200)}]",
    "laughs by references": "r0: lol\n"
    + "".join(f"r{n + 1}: {f'${{r{n}}}' * 10}\n" for n in range(12)),
    "laughs without text": "r0: ''\n"
    + "".join(f"r{n + 1}: {f'${{r{n}}}' * 10}\n" for n in range(12)),
    "deep": "x: " + "[" * 5000 + "]" * 5000,
    "deep by blocks": "".join(f"{' ' * n}x:\n" for n in range(500)),
    "infinite": "x: .inf",
    "no number": "x: .nan",
    "huge": "x: " + "9" * 5000,
    "huge, short enough to be a number": "x: 1" + "0" * 400,
    "a hexadecimal nothing": "x: 0x_",
    "a list as key": "? [1, 2]\n: x",
    "zero byte": "x: \0",
    "two documents": "---\nx: 1",
    "too long": "x: " + "y" * 2**22,
}

READERS = (
    "os.system",
    "builtins.exec",
    "subprocess.check_output",
    "neoseg.cohort.table.read_rows",
    "neoseg.cohort.split.read_split",
    "neoseg.cohort.annotation.read_plan",
    "neoseg.cohort.participants.read_ages",
    "neoseg.cohort.phantom.writer.write_scan",
    "neoseg.cohort.phantom.generation.generate",
    "neoseg.cohort.bids.re.compile",
    "neoseg.buildable.build",
    "neoseg.processes.work_through",
    "neoseg.sweeps.local.run",
    "neoseg.labels.table.LabelTable.read",
    "torch.load",
    "torch.hub.load",
    "hydra.utils.instantiate",
    "omegaconf.OmegaConf.create",
    "pathlib.Path.unlink",
)


def spoilt(content: Any, key: str, value: Any) -> Any:
    *parents, last = key.split(".")
    for part in parents:
        content = content[part]
    content[last] = value
    return content


@pytest.mark.parametrize("key", ["name", "cohort.name", "x"])
@pytest.mark.parametrize("text", RESOLVERS, ids=range(len(RESOLVERS)))
def test_a_resolver_is_refused(canary: Any, text: str, key: str) -> None:
    content = data_config()
    spoilt(content, key, text)
    run = write_config(canary.folder / "runs" / "a", content, PARTS)
    readers = {
        "name": lambda: resumed(run, []),
        "cohort.name": EvaluateConfig(run=run).data,
        "x": lambda: write_card(run),
    }
    assert "config.yaml" in canary.refused(lambda: load_config(run))
    canary.refused(readers[key])


@pytest.mark.parametrize("document", DOCUMENTS, ids=DOCUMENTS)
def test_a_document_that_no_run_writes_is_refused(canary: Any, document: str) -> None:
    run = write_config(canary.folder / "runs" / "a", more=f"\n{DOCUMENTS[document]}\n")
    assert "config.yaml" in canary.refused(lambda: load_config(run))
    canary.refused(lambda: collect(canary.folder / "runs"))


@pytest.mark.parametrize("place", ["cohort", "cohort.exclude"])
@pytest.mark.parametrize("target", READERS)
def test_a_function_that_is_no_reader_is_not_called(canary: Any, target: str, place: str) -> None:
    content = data_config()
    node = {"_target_": target, "command": "touch mark", "path": "mark", "root": "."}
    if place == "cohort":
        content["cohort"] = node
    else:
        spoilt(content, place, [node])
    content["allow"] = [target.partition(".")[0]]  # which a file cannot
    run = write_config(canary.folder / "run", content)
    load_config(run)
    assert target in canary.refused(EvaluateConfig(run=run).data)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("network.net", {"_target_": "os.system", "command": "touch mark"}),
        ("network.net.act", [{"_target_": "transformers.Trainer"}]),
        ("cohort._target_", "neoseg.cohort.table.read_rows"),
        ("optimizer._target_", "os.system"),
        ("optimizer._target_", "torch.optim.lr_scheduler.LRScheduler"),
        ("optimizer.schedule", {"_target_": "torch.hub.load", "repo_or_dir": "x"}),
        ("loss", {"os.system": {"weight": 1.0}}),
        ("loss", {"neoseg.losses.registry.import_module": {"weight": 1.0}}),
        ("augment.torchio", [{"_target_": "torchio.datasets.IXI", "root": "x", "download": True}]),
        ("augment.torchio", [{"_target_": "torchio.HistogramStandardization", "landmarks": "x"}]),
        ("augment.torchio", [{"_target_": "os.system"}]),
    ],
)
def test_other_classes_are_not_called(canary: Any, key: str, target: Any) -> None:
    content = config()
    spoilt(content, key, target)
    content["allow"] = ["os", "transformers", "neoseg", "torch", "torchio"]  # which a file cannot
    run = write_config(canary.folder / "run", content)
    canary.refused(lambda: resumed(run, []))


@pytest.mark.parametrize("key", ["seed", "annotation.draw", "name"])
@pytest.mark.parametrize("value", [2**70, "1e400", "nan", [[]], {}, "x" * 10**5, -1])
def test_odd_values_are_told_or_text(canary: Any, key: str, value: Any) -> None:
    content = data_config()
    spoilt(content, key, value)
    run = write_config(canary.folder / "runs" / "a", content)
    canary.harmless(lambda: collect(canary.folder / "runs"))
    canary.harmless(EvaluateConfig(run=run).data)
