from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import yaml

from neoseg.networks import NetworkError, build_network

CONF = Path(__file__).parents[2] / "conf" / "network"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
FLAT = {"unet2d", "segformer_b0"}
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)


def read(name: str) -> dict:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))


def patch_of(config: dict) -> tuple[int, int, int]:
    """Return the smallest patch that the network takes."""
    side = config["divisor"]
    return (1 if config["name"] in FLAT else side, side, 2 * side)


def shrunk(config: dict) -> dict:
    """Return the same network with fewer filters, to test its topology in little time."""
    net = config["net"]
    for key in {"filters", "channels"} & set(net):
        net[key] = [max(4, width // 16) for width in net[key]]
    if "feature_size" in net:
        net |= {"feature_size": 12, "depths": [1, 1, 1, 1]}
    return config


MARKS = {"segformer_b0": needs_transformers, "swinunetr": pytest.mark.slow}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in NAMES])
def config(request) -> dict:
    torch.manual_seed(0)
    return shrunk(read(request.param))


def test_a_configuration_has_the_name_of_its_file():
    assert [read(name)["name"] for name in NAMES] == NAMES
    assert {"unet2d", "unet3d", "unet3d_large", "segformer_b0"} <= set(NAMES)


def test_every_network_trains_and_predicts(config):
    size = patch_of(config)
    network = build_network(config, in_channels=2, out_channels=5, patch_size=size)
    image = torch.randn(2, 2, *size)
    outputs = network.train()(image)
    heads = outputs if isinstance(outputs, list) else [outputs]
    assert isinstance(outputs, list) == bool(config["net"].get("deep_supervision"))
    assert {tuple(head.shape) for head in heads} == {(2, 5, *size)}
    sum(head.square().mean() for head in heads).backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []
    assert all(p.grad.isfinite().all() for p in network.parameters())

    with torch.no_grad():
        logits = network.eval()(image)
    assert logits.shape == (2, 5, *size)


@pytest.mark.parametrize("name", ["unet2d", "unet3d", "unet3d_large", "resenc"])
def test_a_network_that_was_trained_can_be_copied(name):
    config = shrunk(read(name))
    size = patch_of(config)
    network = build_network(config, in_channels=1, out_channels=3, patch_size=size).train()
    image = torch.randn(2, 1, *size)
    network(image)
    twin = copy.deepcopy(network).eval()
    with torch.no_grad():
        assert torch.equal(twin(image), network.eval()(image))


@pytest.mark.parametrize("name", ["unet3d_large", "resenc"])
def test_deep_supervision_gives_the_final_logits_first(name):
    config = shrunk(read(name))
    network = build_network(config, 1, 3, (32, 32, 64))
    image = torch.randn(1, 1, 32, 32, 64)
    with torch.no_grad():
        heads = network.train()(image)
        final = network.eval()(image)
    assert len(heads) == 3
    assert torch.allclose(heads[0], final, atol=1e-5)
    # Coarser heads are enlarged by repeating voxels, so neighbours agree.
    for number, factor in ((1, 2), (2, 4)):
        assert torch.equal(heads[number][..., ::factor], heads[number][..., factor - 1 :: factor])
        assert not torch.equal(heads[number][..., :-factor], heads[number][..., factor:])


def test_a_flat_network_with_deep_supervision_gives_a_list():
    inner = shrunk(read("unet3d_large"))["net"] | {"spatial_dims": 2, "_partial_": True}
    net = {"_target_": "neoseg.networks.slicewise.SliceWise", "network": inner}
    network = build_network({"name": "flat", "divisor": 32, "net": net}, 1, 3, (32, 1, 64))
    heads = network.train()(torch.randn(2, 1, 32, 1, 64))
    assert [tuple(head.shape) for head in heads] == [(2, 3, 32, 1, 64)] * 3


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("unet3d", (48, 50, 48), ["unet3d", "multiple of 16", "Y 50: use 48 or 64"]),
        ("unet3d", (8, 48, 72), ["X 8: use 16;", "Z 72: use 64 or 80"]),
        ("unet3d", (1, 48, 48), ["3D", "[1, 48, 48]", "2D network"]),
        ("unet3d", (16, 16, 16), ["single voxel", "32 or longer"]),
        ("unet2d", (32, 32, 32), ["2D", "exactly one axis", "[1, 32, 32]"]),
        ("unet2d", (1, 1, 32), ["exactly one axis"]),
        ("unet2d", (1, 40, 32), ["Y 40: use 32 or 48"]),
        ("unet2d", (32, 32), ["three whole numbers"]),
        ("unet3d", (0, 32, 32), ["three whole numbers"]),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(name, size, words):
    with pytest.raises(NetworkError) as caught:
        build_network(read(name), 1, 3, size)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("size", [(1, 32, 48), (32, 1, 48), (32, 48, 1)])
def test_a_flat_network_takes_slices_of_any_plane(size):
    build_network(read("unet2d"), 1, 3, size)


@pytest.mark.parametrize("target", ["os.system", "torch.load", "monai_evil.Net", "neoseg.train.x"])
@pytest.mark.parametrize("nested", [False, True])
def test_targets_outside_the_allowed_packages_are_refused(target, nested):
    net = read("unet3d")["net"]
    if nested:
        net["norm"] = [{"deep": {"_target_": target}}]
    else:
        net = {"_target_": target}
    with pytest.raises(NetworkError, match="lies outside") as caught:
        build_network({"name": "odd", "divisor": 1, "net": net}, 1, 3, (16, 16, 32))
    assert target in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.functional.torch.load",
        "torch.nn.functional.torch.jit.ScriptModule",
        "torch.nn.functional.relu",
        "neoseg.networks.build.build",
        "monai.networks.nets",
    ],
)
def test_a_target_must_be_a_class_that_its_package_defines(target):
    config = {"name": "odd", "divisor": 1, "net": {"_target_": target}}
    with pytest.raises(NetworkError, match="is no class of"):
        build_network(config, 1, 3, (16, 16, 32))


def test_a_package_can_be_allowed():
    config = {"name": "mine", "divisor": 1, "net": {"_target_": "fractions.Fraction"}}
    with pytest.raises(NetworkError, match="lies outside"):
        build_network(config, 1, 3, (16, 16, 16))
    # Past the check of the package: a fraction takes no channels.
    with pytest.raises(NetworkError, match=r"cannot be built.*in_channels"):
        build_network(config, 1, 3, (16, 16, 16), allow=["fractions"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"divisor": 0}, "divisor 0"),
        ({"divisor": 2.5}, "divisor 2.5"),
        ({"net": {"filters": [1]}}, "_target_"),
        ({"net": None}, "_target_"),
        ({"depth": 3}, "unknown: depth"),
        ({"net": {"_target_": "monai.networks.nets.NoSuchNet"}}, "NoSuchNet"),
        ({"net": {"_target_": "monai.networks.nets.SegResNet", "wheels": 4}}, "wheels"),
        ({"net": {"_target_": "monai.networks.nets.SegResNet", "_partial_": True}}, "_partial_"),
    ],
)
def test_a_wrong_configuration_is_refused(change, words):
    with pytest.raises(NetworkError) as caught:
        build_network(read("unet3d") | change, 1, 3, (32, 32, 32))
    assert words in str(caught.value)


def test_a_missing_key_is_named():
    config = read("unet3d")
    del config["divisor"]
    with pytest.raises(NetworkError, match="missing: divisor"):
        build_network(config, 1, 3, (32, 32, 32))


def test_nothing_in_a_configuration_is_resolved(monkeypatch):
    # A string that OmegaConf would take for a call stays a string, whatever builds with it.
    monkeypatch.setenv("SECRET", "6")
    config = shrunk(read("unet3d"))
    config["net"]["act"] = "${oc.env:SECRET}"
    with pytest.raises(NetworkError, match=r"(?i)\$\{oc\.env:SECRET\}") as caught:
        build_network(config, 1, 3, (16, 16, 32))
    assert "'6'" not in str(caught.value)


def test_the_light_default_stays_light():
    network = build_network(read("unet3d"), 1, 11, (48, 48, 48))
    assert sum(p.numel() for p in network.parameters()) == 2_459_941


@needs_transformers
def test_segformer_b0_has_the_size_of_the_published_one():
    network = build_network(read("segformer_b0"), 3, 150, (1, 64, 64))
    # 3.8 million for the 150 classes of ADE20K (Xie et al. 2021, table 1).
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 3.8


@needs_transformers
def test_an_unknown_segformer_setting_is_refused():
    config = read("segformer_b0")
    config["net"]["network"]["wheels"] = 4
    with pytest.raises(NetworkError, match="wheels"):
        build_network(config, 1, 3, (1, 64, 64))


def test_segformer_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(NetworkError, match=r"pip install 'neoseg\[segformer\]'"):
        build_network(read("segformer_b0"), 1, 3, (1, 64, 64))
