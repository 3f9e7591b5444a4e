"""What terms that learn from another network do with label sets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from cases import make_case

from neoseg.losses import consistency
from neoseg.losses.build import make_term
from neoseg.losses.objective import Objective
from neoseg.losses.term import Prediction


def one_voxel(head, label_set, **logits):
    """A case of the paper's space with one voxel: logits of the leaves, 0 for TCV."""
    case = make_case("paper", head)
    space = case.codebook.space
    code = case.codebook.code(space.label_set(label_set))
    channels = case.logits.shape[1]

    def volume(values):
        return torch.tensor([*values, 0.0][:channels]).view(1, channels, 1, 1, 1).double()

    return replace(
        case,
        codes=torch.full((1, 1, 1, 1), code, dtype=torch.uint8),
        stream=torch.tensor([1], dtype=torch.uint8),
        **{name: volume(values) for name, values in logits.items()},
    )


def loss_and_gradient(name, case, **settings):
    logits = case.logits.clone().requires_grad_()
    term = make_term(name, case.codebook, case.head, settings)
    loss = term(replace(case.prediction, logits=logits), case.codes)
    loss.backward()
    return loss.item(), logits.grad.flatten()


BG, CGM, WM, DGM, CSF = range(5)


@pytest.mark.parametrize(("name", "source"), [("cross_pseudo", "peer"), ("fixmatch", "teacher")])
@pytest.mark.parametrize("head", ["multilabel", "softmax"])
def test_the_decision_is_the_best_leaf_that_the_label_set_allows(name, source, head):
    # CSF is far ahead, but the annotation says WM or dGM.
    scores = {source: [0.0, 5.0, 1.0, 6.0, 30.0], "logits": [0.0] * 5}
    case = one_voxel(head, ("WM", "dGM"), **scores)
    loss, gradient = loss_and_gradient(name, case)
    if head == "softmax":
        assert loss == pytest.approx(math.log(5))
        assert gradient.tolist() == pytest.approx([0.2, 0.2, 0.2, -0.8, 0.2])
    else:  # the two open classes; the others are known
        assert loss == pytest.approx(math.log(2))
        assert gradient.tolist() == pytest.approx([0, 0, 0.25, -0.25, 0, 0])


def test_known_voxels_teach_only_where_everything_is_chosen():
    case = one_voxel("softmax", "CSF", peer=[9.0, 0, 0, 0, 0], logits=[0.0] * 5)
    assert loss_and_gradient("cross_pseudo", case)[0] == 0.0
    loss, gradient = loss_and_gradient("cross_pseudo", case, where="all")
    assert loss == pytest.approx(math.log(5))
    assert gradient.argmin() == CSF


@pytest.mark.parametrize("head", ["multilabel", "softmax"])
def test_confidence_counts_inside_the_label_set(head):
    """0.9 of all mass lies outside; of the rest, dGM has 0.97."""
    inside = [math.log(0.003), math.log(0.097)]
    scores = [0.0, 0.0, *inside, math.log(0.9)]
    case = one_voxel(head, ("WM", "dGM"), teacher=scores, logits=[0.0] * 5)
    assert loss_and_gradient("fixmatch", case, threshold=0.96)[0] > 0
    assert loss_and_gradient("fixmatch", case, threshold=0.98)[0] == 0.0


def test_unsure_voxels_count_in_the_mean():
    sure, unsure = [0.0, 0, 9, 0, 0], [0.0, 0, 0.1, 0, 0]
    case = one_voxel("softmax", ("WM", "dGM"), teacher=sure, logits=[0.0] * 5)
    other = one_voxel("softmax", ("WM", "dGM"), teacher=unsure, logits=[0.0] * 5)
    fields = ("logits", "teacher", "codes", "stream")
    both = replace(case, **{f: torch.cat([getattr(case, f), getattr(other, f)]) for f in fields})
    whole, _ = loss_and_gradient("fixmatch", case)
    assert loss_and_gradient("fixmatch", both)[0] == pytest.approx(whole / 2)


class TestUncertainty:
    def sure(self, head, label_set, mean, progress=0.25, **settings):
        """Whether the voxel (or for sigmoids its first open class) counts."""
        case = one_voxel(
            head, label_set, teacher_mean=mean, logits=[0.0] * 5, teacher=[0.0, 0, 1, 2, 0]
        )
        case = replace(case, progress=progress)
        return loss_and_gradient("uncertainty_teacher", case, **settings)[0] > 0

    def test_a_softmax_is_compared_with_ln_k(self):
        # Over five leaves ln 2 is little; over two it is everything.
        mean = [0.5, 0.5, 0.0, 0.0, 0.0]
        share = math.log(2) / math.log(5)
        assert self.sure("softmax", "CSF", mean, threshold=share + 0.01, progress=0.0)
        assert not self.sure("softmax", "CSF", mean, threshold=share - 0.01, progress=0.0)

    def test_inside_a_label_set_it_is_compared_with_ln_s(self):
        mean = [0.0, 0.0, 0.5, 0.5, 0.0]
        assert self.sure("softmax", ("WM", "dGM"), mean)
        assert not self.sure("softmax", ("WM", "dGM"), mean, where="unknown", threshold=0.99)
        decided = [0.0, 0.0, 0.05, 0.95, 0.0]
        assert self.sure("softmax", ("WM", "dGM"), decided, where="unknown")

    def test_a_teacher_that_sees_nothing_inside_is_not_sure(self):
        assert not self.sure("softmax", ("WM", "dGM"), [1.0, 0, 0, 0, 0], where="unknown")

    def test_a_sigmoid_is_compared_with_ln_2(self):
        assert not self.sure("multilabel", ("WM", "dGM"), [0.5] * 5, where="unknown")
        assert self.sure("multilabel", ("WM", "dGM"), [0, 0, 0.5, 0.9, 0], where="unknown")

    @pytest.mark.parametrize(
        ("progress", "share"),
        [(0, 0.75 + 0.25 * math.exp(-5)), (0.5, 0.75 + 0.25 * math.exp(-1.25)), (1, 1)],
    )
    def test_the_threshold_grows_to_the_largest_entropy(self, progress, share):
        term = make_term("uncertainty_teacher", make_case("paper").codebook, "softmax", {})
        assert term.limit(progress) == pytest.approx(share)

    def test_the_progress_of_the_prediction_counts(self):
        mean = [0.0, 0.0, 0.26, 0.74, 0.0]  # 0.83 of ln 2
        case = one_voxel(
            "softmax",
            ("WM", "dGM"),
            teacher_mean=mean,
            teacher=[0.0, 0, 1, 2, 0],
            logits=[0.0] * 5,
        )
        found = [
            loss_and_gradient("uncertainty_teacher", replace(case, progress=p), where="unknown")[0]
            for p in (0.0, 1.0)
        ]
        assert found[0] == 0.0
        assert found[1] > 0


def test_the_objective_knows_what_its_terms_need():
    book = make_case("paper").codebook
    needs = {
        "iuc": (False, False, False),
        "mean_teacher": (True, False, False),
        "fixmatch": (True, False, False),
        "uncertainty_teacher": (True, True, False),
        "cross_pseudo": (False, False, True),
    }
    for name, expected in needs.items():
        found = Objective({name: {}}, book, "multilabel")
        assert (found.needs_teacher, found.needs_passes, found.needs_peer) == expected, name


@pytest.mark.parametrize("name", ["mean_teacher", "uncertainty_teacher", "fixmatch"])
def test_items_of_other_streams_do_not_count(name):
    case = make_case("paper", "softmax", seed=9)
    whole = make_term(name, case.codebook, "softmax", {})(case.prediction, case.codes)
    term = make_term(name, case.codebook, "softmax", {"streams": ["full", "unlabelled"]})
    picked = replace(case, teacher=case.teacher.clone())
    picked.teacher[1] *= -3  # of the partial stream
    assert term(picked.prediction, case.codes) == term(case.prediction, case.codes) != whole


def test_streams_that_the_prediction_does_not_tell_are_an_error():
    case = make_case("paper")
    term = make_term("cross_pseudo", case.codebook, "multilabel", {"streams": "partial"})
    prediction = Prediction(case.logits, "multilabel", peer=case.peer)
    with pytest.raises(ValueError, match="limited to the streams partial"):
        term(prediction, case.codes)


@pytest.mark.parametrize(
    "name", ["mean_teacher", "uncertainty_teacher", "cross_pseudo", "fixmatch"]
)
@pytest.mark.parametrize("head", ["multilabel", "softmax"])
def test_two_ranks_have_the_gradient_of_their_whole_batch(name, head, monkeypatch):
    """Each rank knows the number of entries of both; what is open differs between the items."""
    case = make_case("overlapping", head, seed=21)
    settings = {"where": "unknown"}
    whole, _ = loss_and_gradient(name, case, **settings)
    fields = ("logits", "teacher", "codes", "stream", "peer", "teacher_mean")
    ranks = [
        replace(case, **{f: getattr(case, f)[part] for f in fields})
        for part in (slice(0, 1), slice(1, 3))
    ]
    counts = []

    def gather(value):
        counts.append(value)
        return torch.cat(counts[:2])

    monkeypatch.setattr(consistency, "from_all_ranks", gather)
    monkeypatch.setattr(consistency, "world_size", lambda: 2)
    for rank in ranks:  # the first round collects the counts
        loss_and_gradient(name, rank, **settings)
    losses = [loss_and_gradient(name, rank, **settings)[0] for rank in ranks]
    assert counts[0] != counts[1]
    assert sum(losses) / 2 == pytest.approx(whole, rel=1e-12)
