from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cohort import annotate_cohort, make_data, write_cohort

from neoseg.labelling.in_turn import InTurn
from neoseg.labelling.pseudo import Labeller, PseudoLabeller, ensemble_logits
from neoseg.labels import Codebook, LabelSpace
from neoseg.networks import Head, make_head
from neoseg.patches.pseudo import PseudoLabels
from neoseg.patches.volumes import VolumeSample


def logits(head: Head, number: int, scale: float = 3.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [
        scale * torch.randn((head.channels, 3, 4, 5), generator=generator) for _ in range(number)
    ]


@pytest.mark.parametrize("name", ["multilabel", "softmax"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_it_has_the_mean_of_the_probabilities(name: str, number: int, space: LabelSpace) -> None:
    head = make_head(name, space)
    members = logits(head, number)
    found = head.class_probabilities(ensemble_logits(iter(members), head)[None])
    expected = torch.stack([head.class_probabilities(m[None]) for m in members]).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["multilabel", "softmax"])
def test_the_order_of_improbable_leaves_survives(name: str, space: LabelSpace) -> None:
    """Inside a label set that a network does not believe in, its order still decides."""
    head = make_head(name, space)
    member = torch.zeros(head.channels, 1, 1, 1)
    member[1:3, 0, 0, 0] = torch.tensor([-50.0, -47.0])
    found = ensemble_logits([member, member], head)
    assert torch.isfinite(found).all()
    assert float(found[2] - found[1]) == pytest.approx(3.0, abs=1e-3)


def test_half_precision_and_certainty_stay_finite(space: LabelSpace) -> None:
    for name in ("multilabel", "softmax"):
        head = make_head(name, space)
        members = [m.half() for m in logits(head, 3, scale=100.0)]
        found = ensemble_logits(members, head)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()


def test_an_empty_ensemble_is_refused(space: LabelSpace) -> None:
    with pytest.raises(ValueError, match="at least one"):
        ensemble_logits([], make_head("softmax", space))


def test_labels_know_what_they_were_made_of(tmp_path: Path) -> None:
    data = make_data(annotate_cohort(write_cohort(tmp_path, 2), ["partial"] * 2), tmp_path / "s")
    one, other = data.train
    labeller = PseudoLabeller(data.annotated.codebook, 0.5, 50, "weights", ())
    known = labeller.made_of(one)
    assert replace(labeller).made_of(one) == known
    assert known not in {
        labeller.made_of(other),
        replace(labeller, weights="trained on").made_of(one),
        replace(labeller, min_confidence=0.6).made_of(one),
    }


@dataclass(frozen=True)
class Narrows(Labeller):
    """Answers with given codes, of a confidence of its own, and keeps what it was asked."""

    codes: np.ndarray
    confidence: int
    asked: list[np.ndarray]

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        self.asked.append(sample.codes.numpy())
        known = self.codebook.rows.sum(1)[self.asked[-1]] == 1
        codes = np.where(known, self.asked[-1], self.codes).astype(np.uint8)
        sure = np.full(codes.shape, self.confidence, np.uint8)
        return PseudoLabels(codes - 1, sure, codes, f"by {self.confidence}")


def test_one_labeller_decides_inside_what_another_leaves_open(space: LabelSpace) -> None:
    codebook = Codebook.build(space, [frozenset([1, 2]), space.everything])
    either = codebook.code(frozenset([1, 2]))
    first = Narrows(codebook, 0, 1, "a", np.array([[[either, 1, either]]]), 100, [])
    second = Narrows(codebook, 0, 1, "b", np.array([[[2, 3, 3]]]), 200, [])
    both = InTurn(codebook, 0, 1, "ab", (first, second), torch.device("cpu"))
    sample = VolumeSample(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 3, dtype=torch.uint8), 0)
    found = both.predict(sample)
    assert second.asked[0].ravel().tolist() == [either, 1, either]
    assert found.codes.ravel().tolist() == [2, 1, 3]
    assert found.leaves.ravel().tolist() == [1, 0, 2]
    assert found.confidence.ravel().tolist() == [200, 100, 200]
    assert found.note == "by 100; by 200"
