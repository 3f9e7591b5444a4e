"""Throw random hostile configurations and checkpoints at what reads them, and count.

python experiments/reliability/hostile.py --count 10000
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

import neoseg
from neoseg.buildable import COHORTS
from neoseg.configuration.reader import Reader
from neoseg.errors import NeosegError
from neoseg.foreign import read_config
from neoseg.inference.model import ModelSpec
from neoseg.inference.trained import TrainedNetwork
from neoseg.labels import LabelTable

HERE = Path(__file__).parent
SECRET = "s3cr3t-of-the-canary"
REFUSED, HARMLESS, ESCAPED, TRACEBACK = "refused", "harmless", "escaped", "traceback"
SECONDS, MEMORY = 20, 2 << 30
PACKAGE = Path(neoseg.__file__).parent

WORDS = (
    *("${", "}", "$", "{", "oc", ".env", ".create", ":", "CANARY", "name", "a", ","),
    *("\\", "'", '"', "[", "]", ".", " ", "\n", "first", "hydra", "now", "_target_"),
    *("${oc.env:CANARY}", "${name}", "${a}", "${oc.create:{_target_: os.system}}"),
    *("os.system", "touch mark"),
)
TARGETS = (
    *("os.system", "subprocess.Popen", "builtins.eval", "neoseg.buildable.build"),
    *("torch.hub.load", "torch.load", "torch.nn.DataParallel", "transformers.Trainer"),
    *("neoseg.networks.build.build", "neoseg.cohort.table.read_rows", "monai.bundle.run"),
    *("monai.networks.nets.TorchVisionFCModel", "torch.nn.Conv3d", "", ".", "x"),
    *("monai.networks.nets.UNet", "neoseg.cohort.read_bids"),
)
SNIPPETS = (
    *("!!python/object/apply:os.system ['touch mark']", "!!python/name:os.system"),
    *("!!pairs [a: 1]", "!!omap [a: 1]", "!!set {a}", "!!binary aaaa", "&a [*a]", "*a"),
    *("<<: {a: 1}", "? [a]\n: b", "{{{{", "[[[[", ".inf", ".nan", "9" * 400, "0x_"),
    *("2026-01-01", "%YAML 9.9", "---", "...", "\t"),
)
LABELS = {
    "name": "small",
    "background": 0,
    "leaves": [
        {"index": n, "name": name, "abbreviation": name[:2], "color": "#00ff00"}
        for n, name in enumerate(("Clear", "Fluid", "Grey"))
    ],
    "classes": [{"name": "Both", "abbreviation": "B", "leaves": ["Fl", "Gr"]}],
}
NET = {"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "channels": [2, 4]}
MODEL: dict[str, Any] = {
    "labels": LABELS,
    "label_sets": [[0, 1, 2], [0], [1], [2]],
    "modalities": ["T2w"],
    "prepare": {},
    "patch_size": [8, 8, 8],
    "network": {"name": "unet3d", "divisor": 2, "net": {**NET, "strides": [2]}},
    "head": "softmax",
    "decoding": "hierarchy",
    "window": {},
}
CONFIG: dict[str, Any] = {
    "name": "honest",
    "seed": 0,
    "a": "$",
    "labels": LABELS,
    "cohort": {"_target_": COHORTS[0], "root": "nowhere", "name": "${name}"},
    "network": MODEL["network"],
    "annotation": {"draw": 0, "full_fraction": 0.5},
}


class Calling:
    """What a pickle does when it is opened."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def strange(rng: random.Random, pickled: bool) -> Any:
    """Return a value that nobody expects."""
    kind = rng.randrange(9 if pickled else 7)
    if kind == 0:
        return "".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6)))
    if kind == 1:
        return {"_target_": rng.choice(TARGETS), "command": "touch mark", "_partial_": rng.random()}
    if kind == 2:
        numbers = float("inf"), float("nan"), 2**70, -1, 1e308, 0, -(2**63)
        return rng.choice((*numbers, True, None, ""))
    if kind == 3:
        found: Any = strange(rng, False)
        for _ in range(rng.choice((1, 5, 60, 150))):
            found = [found] if rng.random() < 0.5 else {"x": found}
        return found
    if kind == 4:
        return "x" * rng.choice((10**3, 10**4))
    if kind == 5:
        return [strange(rng, False) for _ in range(rng.randint(0, 4))]
    if kind == 6:
        return rng.choice((b"x", "a\0b", "\x1b[2J", "../../mark", "/etc/passwd", "\ud800", "=1+1"))
    if kind == 7:
        calls = (os.system, "touch mark"), (eval, "open('mark', 'w')"), (bytearray, 2**36)
        return Calling(*rng.choice(calls))
    return rng.choice((torch.zeros(1), {1, 2}, 1j, torch.float32, (1, 2)))


def places(node: Any) -> list[tuple[Any, Any]]:
    """Return every container and key of nested containers."""
    found = []
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        found.append((node, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def spoil(rng: random.Random, content: Any, pickled: bool) -> Any:
    """Put strange values into some places, under strange keys now and then."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        node, key = rng.choice(places(content))
        value = strange(rng, pickled)
        if rng.random() < 0.15 and isinstance(node, dict):
            key = "".join(rng.choice(WORDS) for _ in range(2))
        node[key] = value
    return content


def a_configuration(rng: random.Random, folder: Path) -> Any:
    """Write `config.yaml`, and do with its parts what commands do."""
    content = spoil(rng, deepcopy(CONFIG), False)
    text = yaml.dump(content, Dumper=yaml.CDumper, sort_keys=False)
    for _ in range(rng.choice((0, 0, 1, 3))):
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice((*SNIPPETS, *WORDS)) + text[place + rng.randint(0, 3) :]
    path = folder / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = read_config(path)
    if isinstance(found.get("cohort"), dict):
        reader = Reader.read(found["cohort"], "cohort")
        wrong = list(reader.wrong_keys((), "cohort"))
        if wrong:
            raise NeosegError("; ".join(wrong))
    if isinstance(found.get("labels"), dict):
        LabelTable.parse(found["labels"])
    return found


WEIGHTS: dict[str, Any] = {}


def a_checkpoint(rng: random.Random, folder: Path) -> Any:
    """Write a checkpoint, and load it as prediction does."""
    if not WEIGHTS:
        network = ModelSpec.read(MODEL).build_network()
        WEIGHTS.update({f"network.{key}": value for key, value in network.state_dict().items()})
    content = {"hyper_parameters": deepcopy(MODEL), "state_dict": dict(WEIGHTS)}
    if rng.random() < 0.9:
        spoil(rng, content["hyper_parameters"], True)
    else:
        spoil(rng, content, True)
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir(exist_ok=True)
    stream = io.BytesIO()
    torch.save(content, stream)
    raw = stream.getvalue()
    how = rng.random()
    if how < 0.1:  # bytes flipped
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 20)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        raw = bytes(changed)
    elif how < 0.2:  # packed anew, pickle changed
        target = io.BytesIO()
        kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(stream) as old, zipfile.ZipFile(target, "w", kind) as new:
            for name in old.namelist():
                data = bytearray(old.read(name))
                if name.endswith("data.pkl"):
                    for _ in range(rng.randint(0, 5)):
                        data[rng.randrange(len(data))] = rng.randrange(256)
                new.writestr(name, bytes(data))
        raw = target.getvalue()
    elif how < 0.25:
        raw = raw[: rng.randrange(len(raw))]
    path.write_bytes(raw)
    return TrainedNetwork.load(folder, "cpu").spec


KINDS = {"configurations": a_configuration, "checkpoints": a_checkpoint}


def late(*_: object) -> None:
    raise SystemExit(f"more than {SECONDS} s")


def attack(seed: int, kind: str, folder: Path) -> tuple[str, str]:
    """Return how one case ended, and what was told."""
    rng = random.Random(seed)
    told, verdict = "", HARMLESS
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        told = repr(KINDS[kind](rng, folder))
    except NeosegError as error:
        told, verdict = str(error), REFUSED
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        # A file that cannot be written in the first place does not count.
        inside = traceback.extract_tb(error.__traceback__)
        ours = any(Path(frame.filename).is_relative_to(PACKAGE) for frame in inside)
        told, verdict = traceback.format_exc(), TRACEBACK if ours else HARMLESS
    except BaseException:
        told, verdict = traceback.format_exc(), TRACEBACK
    finally:
        signal.alarm(0)
    if SECRET in told or (folder / "mark").exists():
        verdict = ESCAPED
        (folder / "mark").unlink(missing_ok=True)
    return verdict, told


def fuzz(count: int, seed: int, folder: Path) -> dict[str, Counter[str]]:
    """Return how `count` cases of each kind ended; what is not fine is printed."""
    os.environ["CANARY"] = SECRET
    before = Path.cwd()
    os.chdir(folder)
    found = {kind: Counter[str]() for kind in KINDS}
    try:
        for kind in KINDS:
            for number in range(seed, seed + count):
                verdict, told = attack(number, kind, folder)
                found[kind][verdict] += 1
                if verdict in (ESCAPED, TRACEBACK):
                    print(kind, number, verdict, told[-3000:], sep="\n")
    finally:
        os.chdir(before)
        del os.environ["CANARY"]
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """Return the counts as Markdown."""
    verdicts = (REFUSED, HARMLESS, ESCAPED, TRACEBACK)
    lines = ["| hostile | tried | " + " | ".join(verdicts) + " |", "|---" + "|--:" * 5 + "|"]
    lines += [
        f"| {kind} | {counts.total()} | " + " | ".join(str(counts[v]) for v in verdicts) + " |"
        for kind, counts in found.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "hostile.md")
    options = parser.parse_args()
    output = options.output.resolve()
    torch.zeros(1)  # its own memory first
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, hard))
    with tempfile.TemporaryDirectory() as scratch:
        found = fuzz(options.count // len(KINDS), options.seed, Path(scratch))
    output.write_text(table(found), encoding="utf-8")
    print(table(found))
    return int(any(counts[ESCAPED] + counts[TRACEBACK] for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
