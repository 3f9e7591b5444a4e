"""Small label spaces and random batches for the loss tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from reference import REFERENCES, World
from torch import Tensor

from neoseg.labels import Codebook, LabelSpace, LabelTable
from neoseg.losses.registry import BUILT_IN, find_term
from neoseg.losses.term import Prediction

LEAVES = {
    "paper": ("BG", "cGM", "WM", "dGM", "CSF"),
    "overlapping": ("a", "BG", "b", "c", "d"),
    "flat": ("BG", "x", "y"),
}
CLASSES = {
    "paper": {"TCV": ("cGM", "WM", "dGM")},
    "overlapping": {"P": ("a", "b", "c"), "Q": ("c", "d"), "R": ("a", "b", "c", "d")},
    "flat": {"all": ("BG", "x", "y")},
}
SETS = {
    "paper": (("TCV",), ("BG", "CSF"), ("WM", "dGM")),
    "overlapping": (("P",), ("Q",), ("R",), ("BG", "a"), ("a", "d"), ("BG", "d", "c")),
    "flat": (("BG", "x"),),
}
SHAPES = {"slice": (3, 1, 2, 3), "volume": (3, 2, 1, 3)}
"""Batch and spatial axes; 2D is a volume of one slice."""


def make_space(name: str, shuffle: int | None = None) -> LabelSpace:
    """Build a space by name, with leaves and classes in another order if `shuffle` is a seed."""
    leaves, classes = list(LEAVES[name]), list(CLASSES[name].items())
    if shuffle is not None:
        rng = np.random.default_rng(shuffle)
        leaves = [leaves[i] for i in rng.permutation(len(leaves))]
        classes = [classes[i] for i in rng.permutation(len(classes))]
    index = {leaf: 10 + i for i, leaf in enumerate(LEAVES[name])}
    table = {
        "name": name,
        "background": "BG",
        "leaves": [
            {"index": index[leaf], "name": f"leaf {leaf}", "abbreviation": leaf, "color": "#808080"}
            for leaf in leaves
        ],
        "classes": [
            {"name": f"class {key}", "abbreviation": key, "leaves": list(members)}
            for key, members in classes
        ],
    }
    return LabelSpace.from_table(LabelTable.parse(table))


def make_codebook(space: LabelSpace, extra: tuple[tuple[str, ...], ...] = ()) -> Codebook:
    return Codebook.build(space, [space.label_set(names) for names in (*SETS[space.name], *extra)])


@dataclass(frozen=True)
class Case:
    """One batch under one codebook; the last item is unknown everywhere unless `complete`."""

    codebook: Codebook
    head: str
    logits: Tensor
    teacher: Tensor
    codes: Tensor
    stream: Tensor
    peer: Tensor
    teacher_mean: Tensor
    progress: float = 0.25

    @property
    def prediction(self) -> Prediction:
        return Prediction(
            self.logits,
            self.head,
            self.teacher,
            self.stream,
            self.peer,
            self.teacher_mean,
            self.progress,
        )

    def with_logits(self, logits: Tensor) -> Case:
        return replace(self, logits=logits)

    @property
    def world(self) -> World:
        """The same batch in plain Python containers."""
        space, batch = self.codebook.space, self.logits.shape[0]
        codes = self.codes.reshape(batch, -1).tolist()

        def listed(values: Tensor) -> list:
            return values.detach().double().reshape(*self.logits.shape[:2], -1).tolist()

        return World(
            logits=listed(self.logits),
            teacher=listed(self.teacher),
            peer=listed(self.peer),
            teacher_mean=listed(self.teacher_mean),
            progress=self.progress,
            sets=[[self.codebook.sets[code] for code in item] for item in codes],
            classes=[entry.leaves for entry in space.classes],
            num_leaves=space.num_leaves,
            background=space.background,
            head=self.head,
            stream=self.stream.tolist(),
        )


def make_case(
    space: str = "overlapping",
    head: str = "multilabel",
    shape: str = "volume",
    *,
    complete: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    book = make_codebook(make_space(space))
    rng = torch.Generator().manual_seed(seed)
    batch, *spatial = SHAPES[shape]
    leaves = book.space.num_leaves
    channels = book.space.num_classes if head == "multilabel" else leaves
    size = (batch, channels, *spatial)
    low, high = (1, leaves + 1) if complete else (0, book.size)
    codes = torch.randint(low, high, (batch, *spatial), generator=rng, dtype=torch.uint8)
    if not complete:
        codes[-1] = 0

    def draw(scale: float) -> Tensor:
        return scale * torch.randn(size, generator=rng, dtype=torch.float64)

    return Case(
        codebook=book,
        head=head,
        logits=draw(2).to(dtype),
        teacher=draw(2).to(dtype),
        codes=codes,
        stream=torch.tensor([0, 1, 2], dtype=torch.uint8)[:batch],
        peer=draw(2).to(dtype),
        teacher_mean=activated(draw(2), head).to(dtype),
    )


def activated(logits: Tensor, head: str) -> Tensor:
    return logits.sigmoid() if head == "multilabel" else logits.softmax(1)


def every_term() -> list[tuple[str, str]]:
    """(term, head) for all terms of the package and the heads that they accept."""
    return [(name, head) for name in BUILT_IN for head in sorted(find_term(name).heads)]


def every_variant() -> list[tuple[str, str, dict]]:
    """(term, head, settings) with the settings that the reference lists for the term."""
    return [
        (name, head, settings)
        for name, head in every_term()
        for settings in ({}, *(REFERENCES[name].variants if name in REFERENCES else ()))
    ]
