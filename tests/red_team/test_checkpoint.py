"""A stranger's checkpoint: what its pickle names, its hyper-parameters, and its archive."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from honest import checkpoint, save

from neoseg.inference.trained import TrainedNetwork
from neoseg.training.module import restored

CLASSES = (
    "os.system",
    "neoseg.networks.build.build_network",
    "neoseg.networks.slicewise.with_head_list",
    "neoseg.networks.heads.MultiLabelHead",
    "neoseg.networks.heads.make_head",
    "neoseg.processes.ProcessError",
    "torch.hub.load",
    "torch.nn.Module.load_state_dict",
    "torch.nn.DataParallel",
    "torch.nn.parallel.DistributedDataParallel",
    "torch.nn.Transformer",
    "torch.nn.modules.module.torch.load",
    "torch.jit.load",
    "transformers.Trainer",
    "transformers.AutoModel.from_pretrained",
    "transformers.pipeline",
    "transformers.SegformerForSemanticSegmentation",
    "monai.networks.nets.TorchVisionFCModel",
    "monai.networks.nets.FlexibleUNet",
    "monai.networks.nets.MILModel",
    "monai.networks.nets.DenseNet121",
    "monai.networks.trt_compiler.TrtCompiler",
    "monai.bundle.run",
    "lightning.Trainer",
)


VALUES = ("${oc.env:CANARY}", "${oc.create:{_target_: os.system}}", "\\${a}", "${a}", "${")
KEYS = ("network.name", "network.net.act", "labels.name", "modalities", "head", "decoding")


class Calling:
    """What a pickle does when it is opened."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def load(run: Path) -> Any:
    """Open a run as predicting and evaluating do, with the limits of a laptop."""
    return TrainedNetwork.load(run, "cpu")


def spoilt(content: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        content = content[part]
    content[last] = value


def archive(kind: int, change: Callable[[str, bytes], bytes] | None = None) -> Any:
    """Return a function that saves as torch does, and packs that again in another way."""

    def saver(content: Any, path: Path) -> None:
        stream = io.BytesIO()
        torch.save(content, stream)
        with zipfile.ZipFile(stream) as source, zipfile.ZipFile(path, "w", kind) as target:
            for name in source.namelist():
                data = source.read(name)
                target.writestr(name, data if change is None else change(name, data))

    return saver


def test_an_honest_one_is_loaded(canary: Any) -> None:
    run = save(canary.folder / "run", checkpoint())
    assert load(run).spec.labels.name == "small"


@pytest.mark.parametrize("target", CLASSES)
def test_a_class_that_is_no_network_is_not_built(canary: Any, target: str) -> None:
    content = checkpoint()
    content["hyper_parameters"]["network"]["net"] = {"_target_": target, "command": "touch mark"}
    run = save(canary.folder / "run", content)
    assert target in canary.refused(lambda: load(run))
    content = checkpoint()
    content["hyper_parameters"]["network"]["net"]["act"] = [{"_target_": target}]
    canary.refused(lambda: load(save(run, content)))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", VALUES)
def test_a_reference_is_refused(canary: Any, key: str, value: str) -> None:
    content = checkpoint()
    spoilt(content["hyper_parameters"], key, value)
    run = save(canary.folder / "run", content)
    told = canary.refused(lambda: load(run))
    assert "last.ckpt" in told
    assert "resolver" in told
    canary.refused(lambda: restored(run / "checkpoints" / "last.ckpt"))


def deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


def shared(levels: int) -> Any:
    found: Any = ["x"] * 10
    for _ in range(levels):
        found = [found] * 10
    return found


def endless() -> Any:
    found: dict[str, Any] = {}
    found["again"] = found
    return found


STRANGE: dict[str, Callable[[], Any]] = {
    "os.system": lambda: Calling(os.system, "touch mark"),
    "eval": lambda: Calling(eval, "open('mark', 'w')"),
    "getattr": lambda: Calling(getattr, "x", "join"),
    "a huge bytearray": lambda: Calling(bytearray, 2**40),
    "a set": lambda: {1, 2},
    "bytes": lambda: b"x",
    "a complex number": lambda: 1j,
    "a path": lambda: Path("/etc"),
    "a tensor": lambda: torch.zeros(2),
    "a data type": lambda: torch.float32,
    "a device": lambda: torch.device("cpu"),
    "an infinite number": lambda: float("inf"),
    "no number": lambda: float("nan"),
    "a huge number": lambda: 10**400,
    "nested deeply": lambda: deep(200),
    "nested widely": lambda: shared(12),
    "nested in itself": endless,
    "long": lambda: "x" * 2**25,
    "a module": lambda: torch.nn.ReLU(),
}


@pytest.mark.parametrize("place", ["hyper_parameters", "network", "state_dict", "callbacks"])
@pytest.mark.parametrize("what", STRANGE)
def test_what_is_no_plain_value_is_refused(canary: Any, what: str, place: str) -> None:
    content = checkpoint()
    strange = STRANGE[what]()
    if place == "network":
        content["hyper_parameters"]["network"]["net"]["act"] = strange
    elif place == "callbacks":
        content["callbacks"] = strange
    else:
        content[place]["network.strange"] = strange
    run = save(canary.folder / "run", content)
    if place == "callbacks":  # which prediction does not look at
        canary.harmless(lambda: load(run))
    else:
        assert "last.ckpt" in canary.refused(lambda: load(run))


ARCHIVES: dict[str, tuple[Any, Callable[[Any, Path], None]]] = {
    "a bomb": ({"state_dict": torch.zeros(2**22)}, archive(zipfile.ZIP_DEFLATED)),
    "packed by bzip2": ({}, archive(zipfile.ZIP_BZIP2)),
    "the old format": (
        {},
        lambda c, p: torch.save(c, p, _use_new_zipfile_serialization=False),
    ),
    "a bare pickle": ({}, lambda c, p: p.write_bytes(pickle.dumps(c))),
    "an archive of TorchScript": (
        {},
        lambda c, p: torch.jit.save(torch.jit.script(torch.nn.ReLU()), p),
    ),
    "a pickle that ends": ({}, archive(0, lambda n, d: d[:-9] if n.endswith("data.pkl") else d)),
    "no pickle": ({}, archive(0, lambda n, d: b"x" if n.endswith("data.pkl") else d)),
    "weights that end": ({}, archive(0, lambda n, d: d[:4] if "/data/" in n else d)),
    "an empty file": ({}, lambda c, p: p.write_bytes(b"")),
    "a text": ({}, lambda c, p: p.write_text("hello")),
    "a list": ([1, 2], torch.save),
    "weights of a giant": (
        {"state_dict": {"network.x": torch.zeros(1).expand(2**40)}},
        torch.save,
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_torch_does_not_write_is_refused(canary: Any, name: str) -> None:
    content, saver = ARCHIVES[name]
    content = checkpoint() | content if isinstance(content, dict) else content
    run = save(canary.folder / "run", content, saver)
    assert "last.ckpt" in canary.refused(lambda: load(run))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels", [2**20, 2**20]),
        ("channels", [3000, 4000]),
        ("num_res_units", 10**7),
        ("channels", [-1, 2]),
        ("channels", "x"),
        ("spatial_dims", 10**6),
        ("spatial_dims", True),
    ],
)
def test_a_network_that_its_weights_do_not_fill_is_refused(
    canary: Any, key: str, value: Any
) -> None:
    content = checkpoint()
    content["hyper_parameters"]["network"]["net"][key] = value
    run = save(canary.folder / "run", content)
    canary.refused(lambda: load(run))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels.leaves", [{"index": n} for n in range(3)]),
        ("labels.classes", [{"abbreviation": "A", "name": "a", "leaves": ["A", "Fl"]}]),
        (
            "labels.classes",
            [
                {"abbreviation": a, "name": a, "leaves": [b, "Fl"]}
                for a, b in (("A", "B"), ("B", "A"))
            ],
        ),
        (
            "labels.classes",
            [
                {"abbreviation": f"C{n}", "name": f"c{n}", "leaves": [f"C{n + 1}", "Fl"]}
                for n in range(2000)
            ],
        ),
        ("label_sets", [[0, 1, 99]]),
        ("label_sets", [[-1]]),
        ("label_sets", [[]] * 10**4),
        ("patch_size", [0, 8, 8]),
        ("window", {"overlap": 5}),
        ("window", {"patch_size": [2**20] * 3}),
        ("prepare", {"spacing": [1e-9] * 3}),
        ("prepare", {"root": "/"}),
        ("modalities", ["x"] * 10**5),
        ("modalities", []),
        ("missing_modality", {"policy": "x"}),
        ("predict_with", "os.system"),
        ("head", "os.system"),
        ("allow", ["os"]),
    ],
    ids=range(18),
)
def test_settings_that_cannot_be_are_refused(canary: Any, key: str, value: Any) -> None:
    content = checkpoint()
    spoilt(content["hyper_parameters"], key, value)
    run = save(canary.folder / "run", content)
    canary.refused(lambda: load(run))


def archive_of(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def spoiled() -> dict[str, Any]:
    content = checkpoint()
    content["hyper_parameters"]["labels"]["name"] = "${oc.env:CANARY}"
    return content


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: (
            archive_of(spoiled(), _use_new_zipfile_serialization=False) + archive_of(checkpoint())
        ),
        lambda: archive_of(spoiled()) + archive_of(checkpoint()),
        lambda: b"\0" * 100 + archive_of(checkpoint()),
        lambda: archive_of(checkpoint()) + b"x",
    ],
    ids=["an old pickle before it", "an archive before it", "zeros before it", "a byte behind it"],
)
def test_an_archive_has_one_meaning(canary: Any, spoil: Callable[[], bytes]) -> None:
    run = save(canary.folder / "run", checkpoint())
    (run / "checkpoints" / "last.ckpt").write_bytes(spoil())
    assert "not an archive as torch writes it" in canary.refused(
        lambda: TrainedNetwork.load(run, "cpu")
    )


def test_a_tensor_is_as_large_as_what_the_file_holds(canary: Any) -> None:
    content = checkpoint()
    content["state_dict"]["more"] = torch.zeros(1).expand(2**40)
    run = save(canary.folder / "run", content)
    assert "repeats its numbers" in canary.refused(lambda: TrainedNetwork.load(run, "cpu"))


@pytest.mark.parametrize("layer", ["BatchNorm3d", "GroupNorm"])
def test_no_layer_is_larger_than_a_network(canary: Any, layer: str) -> None:
    content = checkpoint()
    more = {"_target_": f"torch.nn.{layer}", "num_features": 700_000_000, "affine": False}
    content["hyper_parameters"]["network"]["net"]["more"] = more
    run = save(canary.folder / "run", content)
    assert "expected numbers up to" in canary.refused(lambda: TrainedNetwork.load(run, "cpu"))


def test_a_window_fits_into_memory(canary: Any) -> None:
    content = checkpoint()
    content["hyper_parameters"]["patch_size"] = [1024, 1024, 1024]
    run = save(canary.folder / "run", content)
    assert "voxels, expected up to" in canary.refused(lambda: TrainedNetwork.load(run, "cpu"))
