"""Prediction of a whole scan: 217 x 290 x 290 voxels, 88 leaves, windows of 128 cubed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import torch

from experiments.benchmarks.gpu.bench import ROOT, Bench, Found, NotHereError, _version, need_gpu

INFERENCE = ROOT / "experiments" / "benchmarks" / "inference"
sys.path.append(str(INFERENCE))  # its scripts import each other by name

from experiments.benchmarks.inference import material  # noqa: E402
from neoseg.inference.window import WindowSettings, predict_volume  # noqa: E402

FILTERS = [32, 64, 128, 256, 320, 320]
WARM = 0.5
VARIANTS = {
    "float32": {"precision": "float32"},
    "float16": {"precision": "float16"},
    "float16, 4 windows at a time": {"precision": "float16", "batch_size": 4},
    "float16, accumulated on the CPU": {"precision": "float16", "accumulate_on": "cpu"},
}


def run(bench: Bench) -> None:
    """Measure neoseg's windows, nnU-Net's on the same network, and the whole command."""
    torch.manual_seed(0)
    module = material.make_module([4, 8, 8] if bench.dry else FILTERS)
    network = module.network.to(bench.device).eval()
    shape = (20, 24, 20) if bench.dry else material.SHAPE
    image = torch.randn(1, *shape)
    patch = [16] * 3 if bench.dry else material.PATCH

    def once(settings: dict[str, object]) -> None:
        window = WindowSettings(patch_size=tuple(patch), **settings)
        predict_volume(network, image, module.head, window, bench.device)

    for name, settings in VARIANTS.items():
        bench.check(f"warm, {name}", partial(warm, bench, partial(once, settings), name))
        if bench.device.type == "cuda":
            used = partial(memory, bench, partial(once, settings))
            bench.check(f"memory, {name}", used)
    bench.check("nnU-Net's predictor, same network", partial(nnunet, bench, network, image, patch))
    bench.check("the whole command from cold", partial(command, bench))


def warm(bench: Bench, once: partial[None], name: str) -> Found:
    """Seconds beyond reading and writing; the fastest setting is the one that has a limit."""
    seconds = bench.seconds(once, repeats=1 if bench.dry else 3, warm=1)
    limit = bench.limit(WARM) if name == "float16, 4 windows at a time" else None
    return Found(seconds, "s", most=limit)


def memory(bench: Bench, once: partial[None]) -> Found:
    """Peak beyond network and image."""
    return Found(bench.peak(once) / 2**30, "GiB")


def nnunet(bench: Bench, network: torch.nn.Module, image: torch.Tensor, patch: list[int]) -> Found:
    """Seconds of nnU-Net's sliding window until the leaves are known."""
    if _version("nnunetv2") is None:
        raise NotHereError("nnunetv2 is not installed")
    import peer
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(peer.make_plans(patch))
    labels = {"background": 0, **{f"leaf{n}": n for n in range(1, peer.LEAVES)}}
    dataset = {"channel_names": {"0": "T2w"}, "labels": labels, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=bench.device, allow_tqdm=False
    )
    configuration = plans.get_configuration("3d_fullres")
    predictor.manual_initialization(
        network, plans, configuration, [network.state_dict()], dataset, "nnUNetTrainer", None
    )

    def once() -> None:
        predictor.predict_sliding_window_return_logits(image).argmax(0).cpu()

    return Found(bench.seconds(once, repeats=1 if bench.dry else 3, warm=1), "s")


def command(bench: Bench) -> Found:
    """Seconds of the command that a user types, from its start to its exit."""
    need_gpu(bench)
    folder = bench.scratch / "predict"
    filters = ",".join(map(str, FILTERS))
    made = [sys.executable, str(INFERENCE / "material.py"), str(folder), f"[{filters}]"]
    subprocess.run(made, cwd=ROOT, check=True, capture_output=True)
    arguments = [f"run={folder / 'run'}", f"input={folder / 'scan'}", f"output={folder / 'out'}"]
    typed = [sys.executable, "-m", "neoseg.predict", *arguments, "device=cuda"]

    def once() -> None:
        subprocess.run(typed, cwd=ROOT, check=True, capture_output=True)

    return Found(bench.seconds(once, repeats=1, warm=0), "s")
