"""Export a trained network as a MONAI bundle or as a `torch.export` program."""

import importlib.metadata
import io
import json
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neoseg import __version__
from neoseg.files import building, write_bytes, write_json, write_text
from neoseg.findings.settings import ConfigError
from neoseg.handover.onnx_model import SCRIPT, First, flags, model_settings, script_text
from neoseg.inference.trained import TrainedNetwork

SETTINGS_FILE = "neoseg.json"
"""File with preparation, windows and decoding, in a bundle's `configs` and in a program."""


class _MirrorAveraged(nn.Module):
    """Averages the logits of a window and of its mirror image."""

    def __init__(self, network: nn.Module, partners: list[int]) -> None:
        super().__init__()
        self.network, self.partners = network, partners

    def forward(self, image: Tensor) -> Tensor:
        mirrored = self.network(image.flip(2)).flip(2)[:, self.partners]
        mean: Tensor = (self.network(image) + mirrored) / 2
        return mean


def _window_network(trained: TrainedNetwork) -> tuple[nn.Module, Tensor, dict[str, Any]]:
    """Return a module that maps a window to logits, an example window, and the settings."""
    settings, spec = model_settings(trained), trained.spec
    network: nn.Module = First(trained.network)
    if settings["mirror"] is not None:
        network = _MirrorAveraged(network, settings["mirror"])
    channels = len(spec.modalities) + flags(trained)
    example = torch.zeros(1, channels, *spec.window.patch_size)
    return network.eval().requires_grad_(False), example, settings


def write_program(path: Path, trained: TrainedNetwork, more: dict[str, str]) -> None:
    """Write a program for `torch.export.load` that maps one window to its logits.

    Args:
        path: of the file.
        trained: network on the CPU.
        more: further text files to include.

    Raises:
        ConfigError: the network cannot be exported.
    """
    network, example, settings = _window_network(trained)
    texts = {SETTINGS_FILE: json.dumps(settings), **more}
    content = io.BytesIO()  # a full disk would end the process within PyTorch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(network, (example,))
            torch.export.save(program, content, extra_files=texts)
        except Exception as error:  # unsupported layers can raise anything
            raise _export_error(trained, "a program of torch.export", error) from error
    write_bytes(path, content.getvalue())


def write_bundle(folder: Path, trained: TrainedNetwork, licence: str) -> None:
    """Write a folder that `monai.bundle` can run: `configs/inference.json` and all that it needs.

    Args:
        folder: of the bundle.
        trained: network on the CPU.
        licence: of the weights.

    Raises:
        ConfigError: the network cannot be traced.
    """
    network, example, settings = _window_network(trained)
    traced = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.jit.save(torch.jit.trace(network, (example,)), traced)
        except Exception as error:  # unsupported layers can raise anything
            raise _export_error(trained, "TorchScript", error) from error
    # A bundle that cannot be written as a whole must not be there the next time.
    with nullcontext(folder) if folder.exists() else building(folder) as place:
        _fill_bundle(place, trained, licence, settings, traced.getvalue())


def _fill_bundle(
    folder: Path, trained: TrainedNetwork, licence: str, settings: dict[str, Any], traced: bytes
) -> None:
    write_bytes(folder / "models" / "model.ts", traced)
    write_text(folder / "scripts" / SCRIPT, script_text())
    write_text(folder / "docs" / "README.md", _readme(trained))
    write_text(folder / "LICENSE", licence.rstrip() + "\n")
    for name, content in (
        (SETTINGS_FILE, settings),
        ("inference.json", _inference_config(settings)),
        ("metadata.json", _escape_code(_bundle_metadata(trained, licence))),
    ):
        write_json(folder / "configs" / name, content, indent=1, ensure_ascii=False)


def _inference_config(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that `monai.bundle run` executes."""
    fill, count = settings["pad_value"], len(settings["modalities"])
    return {
        "imports": [
            "$import json",
            "$import pathlib",
            "$import torch",
            "$import runpy",
        ],
        "bundle_root": ".",
        "scans": [],
        "output_dir": "$@bundle_root + '/segmentations'",
        "steps": f"$runpy.run_path(@bundle_root + '/scripts/{SCRIPT}')",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "told": "$json.loads("
        f"pathlib.Path(@bundle_root, 'configs', '{SETTINGS_FILE}').read_text())",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'files': files} for files in @scans]",
            # a mask, if the network uses one, follows the images
            "transform": "$lambda scan: @steps['prepared'](@told, "
            f"scan['files'][:{count}], *scan['files'][{count}:])",
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": settings["patch_size"],
            "sw_batch_size": 1,
            "overlap": settings["overlap"],
            "mode": settings["mode"],
            "sigma_scale": 0.125,
            "padding_mode": "replicate" if fill is None else "constant",
            "cval": fill or 0.0,
        },
        "logits_of": "$lambda image: @inferer(torch.from_numpy(image)[None].to(@device), "
        "@network_def)[0].cpu().numpy()",
        "output_of": "$lambda place: str(pathlib.Path(@output_dir, "
        "pathlib.Path(place[3]).name.split('.nii')[0] + '_seg.nii.gz'))",
        "initialize": ["$pathlib.Path(@output_dir).mkdir(parents=True, exist_ok=True)"],
        "run": [
            "$[@steps['written'](@told, @logits_of(image), place, @output_of(place)) "
            "for image, place in @dataset]"
        ],
    }


def _escape_code(node: Any) -> Any:
    """Return plain containers in which MONAI evaluates no text, such as the name of a structure."""
    if isinstance(node, dict):
        return {key: _escape_code(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escape_code(value) for value in node]
    return f" {node}" if isinstance(node, str) and node[:1] in ("$", "@", "%") else node


def _bundle_metadata(trained: TrainedNetwork, licence: str) -> dict[str, Any]:
    spec, size = trained.spec, list(trained.spec.window.patch_size)
    names = [*spec.modalities, *(f"{n} is there" for n in spec.modalities[1:])]
    count = len(spec.modalities) + flags(trained)
    space, channels = spec.space, spec.make_head().channels
    outputs = {str(n): entry.name for n, entry in enumerate(space.classes[:channels])}
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"written by neoseg {__version__}"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {"nibabel": importlib.metadata.version("nibabel")},
        "task": f"Segmentation: {space.name}",
        "description": f"{len(space.leaves)} structures on {', '.join(spec.modalities)}",
        "authors": "not stated",
        "copyright": licence.splitlines()[0] if licence else "not stated",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "num_channels": count,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(n): names[n] for n in range(count)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "logits",
                    "num_channels": len(outputs),
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": outputs,
                }
            },
        },
    }


def _readme(trained: TrainedNetwork) -> str:
    spec = trained.spec
    files = ", ".join(f"'{name}.nii.gz'" for name in spec.modalities)
    mask = ", and a mask of the brain behind them" if spec.prepare.foreground == "mask" else ""
    return (
        f"# {spec.space.name}\n\n"
        f"Images {', '.join(spec.modalities)} of a scan on one grid, in mm{mask}; "
        "the first images of scans have names of their own, after which the label maps are called. "
        "In this folder, with monai, nibabel and fire:\n\n"
        "```\npython -m monai.bundle run --config_file configs/inference.json \\\n"
        f'    --scans "[[{files}]]" --output_dir segmentations\n```\n'
    )


def _export_error(trained: TrainedNetwork, form: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"network '{trained.spec.network['name']}' cannot be written as {form}: "
        f"{str(error).strip().splitlines()[0] if str(error).strip() else error!r}; "
        "format=neoseg takes every network"
    )
