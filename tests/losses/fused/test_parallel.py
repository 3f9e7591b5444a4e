"""Two processes with half a batch each compute the loss and gradient of one with all of it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from cases import every_variant, make_case
from forked import CONTEXT

from neoseg.losses.build import make_term
from neoseg.losses.fused import SumTerm, VoxelTerm
from neoseg.losses.registry import find_term

VARIANTS = [v for v in every_variant() if issubclass(find_term(v[0]), SumTerm | VoxelTerm)]


def batch_of_four(head):
    case = make_case("overlapping", head, seed=9)
    pick = torch.tensor([0, 1, 2, 0])
    logits = case.logits[pick] + torch.arange(4.0).view(4, 1, 1, 1, 1)
    return replace(
        case,
        logits=logits * torch.linspace(0.5, 1, logits.shape[1]).view(1, -1, 1, 1, 1),
        codes=case.codes[pick],
        teacher=logits,
        stream=case.stream[pick],
    )


def evaluate(variant, items):
    name, head, settings = variant
    case = batch_of_four(head)
    logits = case.logits[items].clone().requires_grad_()
    term = make_term(name, case.codebook, head, settings)
    prediction = replace(
        case.prediction, logits=logits, teacher=case.teacher[items], stream=case.stream[items]
    )
    loss = term(prediction, case.codes[items])
    loss.backward()
    return loss.detach(), logits.grad


def work(rank, address, variants, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.save(
        [evaluate(v, slice(2 * rank, 2 * rank + 2)) for v in variants],
        os.path.join(results, f"{rank}.pt"),
    )
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    address = f"file://{folder}/store"
    ranks = [
        CONTEXT.Process(target=work, args=(rank, address, VARIANTS, str(folder)))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(
    "index", range(len(VARIANTS)), ids=[f"{n}-{h}-{s}" for n, h, s in VARIANTS]
)
def test_two_processes_equal_one(two_processes, index):
    loss, gradient = evaluate(VARIANTS[index], slice(0, 4))
    parts = [results[index] for results in two_processes]
    # What DistributedDataParallel does to gradients is the mean over processes.
    together = torch.cat([slope for _, slope in parts]) / 2
    assert torch.allclose(together, gradient, rtol=1e-9, atol=1e-15)
    assert torch.stack([value for value, _ in parts]).mean().item() == pytest.approx(loss.item())
    if issubclass(find_term(VARIANTS[index][0]), SumTerm):
        assert parts[0][0] == parts[1][0]
