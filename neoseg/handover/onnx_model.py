"""Export a trained network to ONNX, with a stand-alone script that segments with it."""

import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neoseg.files import replacing, write_text
from neoseg.findings.settings import ConfigError
from neoseg.inference.forward import mirror_partners
from neoseg.inference.trained import TrainedNetwork

log = logging.getLogger(__name__)

OPSET = 18
SCRIPT = "segment.py"


class First(nn.Module):
    """A network that returns only the logits of the highest resolution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return logits `[B, N, *S]` for `[B, M, *S]`."""
        output = self.network(image)
        logits: Tensor = output[0] if isinstance(output, list | tuple) else output
        return logits


def write_onnx(path: Path, trained: TrainedNetwork, more: dict[str, Any]) -> Path:
    """Write a network and, beside it, the script that segments with it; return the script's path.

    Batch size and X, Y, Z are dynamic, for sizes that the network's strides divide; axes of length
    one in the patch are fixed.

    Args:
        path: of the model.
        trained: network on the CPU.
        more: further entries for the metadata of the model.

    Raises:
        ConfigError: the package onnx is missing, or ONNX does not support the network.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("format=onnx needs the package onnx: pip install 'neoseg[onnx]'")
    import onnx

    spec, axes = trained.spec, (0, 2, 3, 4)
    channels = len(spec.modalities) + flags(trained)
    example = torch.zeros(1, channels, *spec.patch_size)
    dynamic = dict(zip(axes, ("batch", "x", "y", "z"), strict=True))
    fixed = [axis for axis in range(3) if spec.patch_size[axis] == 1]
    for axis in fixed:
        del dynamic[axis + 2]
    with replacing(path) as temporary:
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    First(trained.network).eval(),
                    (example,),
                    str(temporary),
                    input_names=["image"],
                    output_names=["logits"],
                    dynamic_axes={"image": dynamic, "logits": dynamic},
                    opset_version=OPSET,
                    dynamo=False,  # the dynamo exporter fixes sizes that strides must divide
                )
        except Exception as error:  # unsupported layers can raise anything
            raise ConfigError(
                f"network '{spec.network['name']}' cannot be written as ONNX: {error}; "
                "format=neoseg takes every network"
            ) from error
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, {"neoseg": json.dumps(model_settings(trained)), **more})
        onnx.checker.check_model(model)
        onnx.save(model, temporary)
    script = path.with_name(SCRIPT)
    write_text(script, script_text())
    return script


def script_text() -> str:
    """Return the program that segments without neoseg."""
    return Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8")


def model_settings(trained: TrainedNetwork) -> dict[str, Any]:
    """Return preparation, windows and decoding in the form that the script reads."""
    spec = trained.spec
    head, window, prepare = spec.make_head(), spec.window, spec.prepare
    count = spec.space.num_leaves
    # The score of a leaf is the sum of the logits of its classes; with a softmax its own logit.
    classes = spec.space.class_leaves[: head.channels].T.astype(int)
    return {
        "modalities": list(spec.modalities),
        "flags": flags(trained),
        "normalise": prepare.normalise,
        "window": None if prepare.window is None else list(prepare.window),
        "foreground": prepare.foreground,
        "crop_margin": prepare.crop_margin,
        "spacing": None if prepare.spacing is None else list(prepare.spacing),
        "patch_size": list(window.patch_size),
        "overlap": window.overlap,
        "mode": window.mode,
        "pad_value": window.pad_value,
        "mirror": list(mirror_partners(head, window.patch_size)) if window.mirror else None,
        "channels": head.channels,
        "decoding": spec.decoding,
        "leaves": classes[:count].tolist(),
        "background": spec.space.background,
        "indices": [leaf.index for leaf in spec.space.leaves],
        "names": [leaf.name for leaf in spec.space.leaves],
    }


def flags(trained: TrainedNetwork) -> int:
    """Return the number of input channels that flag whether an image is present."""
    spec = trained.spec
    count = len(spec.modalities)
    return 0 if spec.missing_modality is None else spec.missing_modality.channels(count) - count
