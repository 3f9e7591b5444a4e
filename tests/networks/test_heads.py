from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from neoseg.labels import LabelSpace, LabelTable
from neoseg.networks import heads
from neoseg.networks.heads import DECODINGS, HEADS, make_head

LEAVES = ("BG", "CSF", "GM", "WM", "DGM", "CB")
CLASSES = (("TCV", ("GM", "WM", "DGM")), ("BRAIN", ("TCV", "CB")), ("DEEP", ("DGM", "WM")))
SIZES = [(), (7,), (4, 5), (3, 4, 5)]
PAIRS = [("multilabel", "hierarchy"), ("multilabel", "paper"), ("softmax", "hierarchy")]


def make_space(leaves=LEAVES, classes=CLASSES) -> LabelSpace:
    colour = "#000000"
    return LabelSpace.from_table(
        LabelTable.parse(
            {
                "name": "test",
                "background": "BG",
                "leaves": [
                    {"index": n, "name": f"the {key}", "abbreviation": key, "color": colour}
                    for n, key in enumerate(leaves)
                ],
                "classes": [
                    {"name": f"the {key}", "abbreviation": key, "leaves": members}
                    for key, members in classes
                ],
            }
        )
    )


@pytest.fixture
def space() -> LabelSpace:
    return make_space()


def random_logits(head, *size, batch=2, scale=2.0) -> torch.Tensor:
    torch.manual_seed(0)
    return scale * torch.randn(batch, head.channels, *size)


def hierarchy_reference(space: LabelSpace, z: list[float]) -> int:
    """Return the leaf whose whole class vector is the most likely, term by term."""

    def log_sigmoid(value: float) -> float:
        return -math.log1p(math.exp(-value))

    totals = []
    for leaf in range(space.num_leaves):
        totals.append(
            sum(
                log_sigmoid(z[c] if leaf in entry.leaves else -z[c])
                for c, entry in enumerate(space.classes)
            )
        )
    return totals.index(max(totals))


def paper_reference(space: LabelSpace, z: list[float]) -> int:
    winner = space.classes[z.index(max(z))]
    return max(winner.leaves, key=lambda leaf: z[leaf])


def softmax_reference(_space: LabelSpace, z: list[float]) -> int:
    return z.index(max(z))


REFERENCE = dict(zip(PAIRS, (hierarchy_reference, paper_reference, softmax_reference), strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pair", PAIRS)
def test_decode_equals_a_slow_loop(space, pair, size):
    head = make_head(pair[0], space, pair[1])
    logits = random_logits(head, *size, batch=3)
    expected = [
        REFERENCE[pair](space, voxel.tolist())
        for voxel in logits.double().movedim(1, -1).reshape(-1, head.channels)
    ]
    leaves = head.decode(logits)
    assert leaves.dtype == torch.uint8
    assert leaves.shape == (3, *size)
    assert leaves.flatten().tolist() == expected
    assert head.leaf_scores(logits).shape == (3, space.num_leaves, *size)
    assert torch.equal(head.leaf_scores(logits).argmax(1), leaves.long())


@pytest.mark.parametrize("limit", [1, 90, 400, 2000])
@pytest.mark.parametrize("pair", PAIRS)
def test_slabs_do_not_change_the_result(space, pair, limit, monkeypatch):
    head = make_head(pair[0], space, pair[1])
    logits = random_logits(head, 5, 3, 2, batch=3)
    leaves, probabilities = head.decode(logits), head.class_probabilities(logits)
    monkeypatch.setattr(heads, "SLAB_ELEMENTS", limit)
    assert torch.equal(head.decode(logits), leaves)
    assert torch.allclose(head.class_probabilities(logits), probabilities, atol=1e-6)


def test_slabs_stay_below_the_limit(space, monkeypatch):
    monkeypatch.setattr(heads, "SLAB_ELEMENTS", 200)
    head = make_head("multilabel", space)
    seen = []
    scores = head._scores
    monkeypatch.setattr(head, "_scores", lambda part: seen.append(part.numel()) or scores(part))
    head.decode(random_logits(head, 8, 3, 2, batch=3))
    assert max(seen) <= 200
    assert sum(seen) == 3 * 9 * 48


@pytest.mark.parametrize(
    ("logits", "leaf"),
    [
        # BG, CSF, GM, WM, DGM, CB, TCV, BRAIN, DEEP
        ([9, 0, 0, 0, 0, 0, 1, 1, 1], "BG"),
        ([0, 0, 3, 2, 1, 5, 9, 1, 1], "GM"),  # TCV wins; CB is no child of it
        ([0, 0, 3, 2, 1, 5, 1, 9, 1], "CB"),  # BRAIN wins; CB is its best leaf, two levels
        ([0, 0, 3, 2, 1, 5, 1, 1, 9], "WM"),  # DEEP wins; GM is outside it
        ([8, 8.5, 1, 2, 1, 5, 9, 1, 1], "WM"),  # a higher leaf outside the winner does not count
        ([-9, -9, -9, -8, -9, -9, -1, -2, -2], "WM"),  # all improbable: still the maximum
    ],
)
def test_the_papers_rule(space, logits, leaf):
    head = make_head("multilabel", space, "paper")
    position = head.decode(torch.tensor([logits], dtype=torch.float32)[..., None])
    assert space.leaves[int(position)].abbreviation == leaf


@pytest.mark.parametrize(
    ("logits", "paper", "hierarchy"),
    [
        # Super-classes and grey matter agree, and the background is a little above each of them.
        ([1.0, -4, 0.8, -3, -3, -4, 0.9, 0.9, -3], "BG", "GM"),
        # A super-class wins by a hair although none of its leaves is probable.
        ([0.5, -4, -5, -6, -6, -4, 0.6, -3, -5], "GM", "BG"),
    ],
)
def test_the_hierarchy_repairs_the_papers_rule(space, logits, paper, hierarchy):
    z = torch.tensor([logits])[..., None]
    found = [
        space.leaves[int(make_head("multilabel", space, name).decode(z))].abbreviation
        for name in ("paper", "hierarchy")
    ]
    assert found == [paper, hierarchy]


def test_hierarchy_scores_are_the_posterior_of_one_leaf(space):
    head = make_head("multilabel", space)
    z = random_logits(head, batch=1)[0].double()
    likelihood = []
    for leaf in range(space.num_leaves):
        member = torch.as_tensor(space.class_leaves[:, leaf])
        likelihood.append(torch.where(member, z.sigmoid(), 1 - z.sigmoid()).prod())
    expected = torch.stack(likelihood) / sum(likelihood)
    assert torch.allclose(head.leaf_scores(z[None])[0].softmax(0), expected)


@pytest.mark.parametrize("size", SIZES)
def test_softmax_classes_are_sums_of_their_leaves(space, size):
    head = make_head("softmax", space)
    logits = random_logits(head, *size)
    classes = head.class_probabilities(logits)
    assert classes.shape == (2, space.num_classes, *size)
    leaves = logits.softmax(1)
    for position, entry in enumerate(space.classes):
        assert torch.allclose(
            classes[:, position], sum(leaves[:, k] for k in entry.leaves), atol=1e-6
        )
    assert torch.allclose(classes[:, : space.num_leaves].sum(1), torch.ones(2, *size))
    assert 0 <= classes.min() <= classes.max() <= 1


def test_multilabel_classes_are_sigmoids(space):
    head = make_head("multilabel", space)
    logits = random_logits(head, 4, 3)
    assert torch.allclose(head.class_probabilities(logits), 1 / (1 + (-logits).exp()))


@pytest.mark.parametrize("name", sorted(HEADS))
def test_probabilities_are_differentiable(space, name, monkeypatch):
    monkeypatch.setattr(heads, "SLAB_ELEMENTS", 30)
    head = make_head(name, space)
    logits = random_logits(head, 3, 2).double().requires_grad_()
    head.class_probabilities(logits)[:, -1].sum().backward()
    step = torch.zeros_like(logits)
    step[1, -1, 2, 1] = 1e-3
    with torch.no_grad():
        change = head.class_probabilities(logits + step) - head.class_probabilities(logits - step)
    slope = float(change[:, -1].sum() / 2e-3)
    assert float(logits.grad[1, -1, 2, 1]) == pytest.approx(slope, abs=1e-3)
    assert abs(slope) > 1e-4


@pytest.mark.parametrize("pair", PAIRS)
def test_the_order_of_leaves_and_classes_does_not_matter(pair):
    torch.manual_seed(0)
    reference = make_space()
    names = [entry.abbreviation for entry in reference.classes]
    size = make_head(pair[0], reference).channels
    logits = 2 * torch.randn(1, size, 50)
    head = make_head(*[pair[0], reference, pair[1]])
    expected = [reference.leaves[k].abbreviation for k in head.decode(logits)[0].tolist()]
    rng = np.random.default_rng(0)
    for classes in permutations(CLASSES):
        leaves = tuple(rng.permutation(LEAVES).tolist())
        space = make_space(leaves, classes)
        order = [names.index(entry.abbreviation) for entry in space.classes][:size]
        found = make_head(pair[0], space, pair[1]).decode(logits[:, order])[0].tolist()
        assert [space.leaves[k].abbreviation for k in found] == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pair", PAIRS)
def test_half_precision_is_decoded_in_single_precision(space, pair, dtype):
    head = make_head(pair[0], space, pair[1])
    logits = random_logits(head, 200).to(dtype)
    assert torch.equal(head.decode(logits), head.decode(logits.float()))
    assert head.class_probabilities(logits).dtype == dtype


@pytest.mark.parametrize("pair", PAIRS[:2])
def test_without_super_classes_every_rule_is_the_argmax(pair):
    head = make_head(pair[0], make_space(classes=()), pair[1])
    logits = random_logits(head, 30)
    assert torch.equal(head.decode(logits).long(), logits.argmax(1))


def test_channels(space):
    assert make_head("multilabel", space).channels == 9
    assert make_head("softmax", space).channels == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sigmoid",), ["head 'sigmoid'", *sorted(HEADS)]),
        (("softmx",), ["did you mean 'softmax'"]),
        (("multilabel", "argmax"), ["decoding 'argmax'", *DECODINGS]),
        (("softmax", "argmax"), ["decoding 'argmax'", *DECODINGS]),
        (("softmax", "paper"), ["'paper'", "head 'multilabel'"]),
    ],
)
def test_unknown_names_are_refused(space, arguments, words):
    name, *rest = arguments
    with pytest.raises(ValueError, match=words[0]) as caught:
        make_head(name, space, *rest)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("method", ["decode", "leaf_scores", "class_probabilities"])
def test_a_wrong_number_of_channels_is_refused(space, name, method):
    head = make_head(name, space)
    with pytest.raises(ValueError, match=f"out_channels={head.channels}"):
        getattr(head, method)(torch.zeros(1, head.channels + 1, 4))
