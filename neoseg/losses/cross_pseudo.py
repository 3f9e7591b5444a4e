"""Cross pseudo supervision: two networks teach each other."""

from typing import ClassVar

from torch import Tensor

from neoseg.labels import Codebook
from neoseg.losses.consistency import (
    Streams,
    Where,
    allowed_evidence,
    chosen_entries,
    pseudo_label_loss,
)
from neoseg.losses.term import MULTILABEL, SOFTMAX, DenseTerm, Prediction


class CrossPseudo(DenseTerm):
    """Cross-entropy with the hard decisions of a second network inside the label sets.

    In each voxel the target is the leaf with the most evidence from the peer among those that the
    label set allows (Chen et al. 2021, arXiv 2106.01226, where all are allowed). The evidence for
    a leaf is its logit, plus, for sigmoids, the logits of the super-classes that contain it. Each
    sigmoid learns whether its class contains the target leaf; the mean is over the chosen entries.
    A softmax learns the leaf itself; the mean is over the voxels with a chosen entry. No gradient
    reaches the peer, which learns from this network through the same term.

    `where: unknown` chooses the entries that the label set leaves open (elsewhere the target equals
    the label, which other terms teach), `all` every entry; `streams` chooses items as in
    `MeanTeacher`.
    """

    heads = frozenset({MULTILABEL, SOFTMAX})
    needs_peer = True
    ramp: ClassVar = {"share": 1.0, "shape": "sigmoid", "start": 0.0}

    def __init__(
        self, codebook: Codebook, *, where: Where = "unknown", streams: Streams = "all"
    ) -> None:
        super().__init__(codebook)
        self.where = where
        self.streams = streams

    def compute(self, prediction: Prediction, codes: Tensor) -> Tensor:
        """Return the mean over the chosen entries or voxels; 0 if there are none."""
        assert prediction.peer is not None  # guaranteed by `check`
        chosen = chosen_entries(self, prediction, codes, self.where, self.streams)
        evidence = allowed_evidence(self, prediction.peer, prediction.head, codes)
        return pseudo_label_loss(self, prediction, evidence.argmax(1), chosen)
