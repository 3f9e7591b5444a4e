"""Refine annotations by a network with another label table, mapped to the new table."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import predict_logits
from neoseg.labelling.pseudo import PLANES, Labeller
from neoseg.labels import Codebook, LabelSet
from neoseg.networks import make_head
from neoseg.patches.pseudo import CERTAIN, PseudoLabels
from neoseg.patches.volumes import VolumeSample


def telling(codebook: Codebook, said: tuple[LabelSet, ...]) -> Codebook:
    """Extend a codebook by all label sets that result from intersection with a network's leaves.

    Args:
        codebook: of the annotations.
        said: label set of each leaf of the network, see `translated`.

    Raises:
        LabelError: there are more label sets than fit into a byte.
    """
    both = {known & predicted for known in codebook.sets for predicted in said} - {frozenset()}
    return Codebook.build(codebook.space, (*codebook.sets, *both))


@dataclass(frozen=True)
class SourceLabeller(Labeller):
    """Narrows annotated label sets by the predictions of an older network.

    If a prediction is below `min_confidence` or contradicts the annotation, the annotation stays.

    Attributes:
        segmenter: the older network.
        said: label set in the new table of each of its leaves.
        images: index among the scan's images of each image it reads; None if there is none.
    """

    segmenter: Segmenter
    said: tuple[LabelSet, ...]
    images: tuple[int | None, ...]

    @cached_property
    def _narrowed_codes(self) -> np.ndarray:
        """Lookup table of codes by annotated code and predicted leaf, uint8 `[R, L]`."""
        code, sets = self.codebook.code, self.codebook.sets
        rows = [[code((known & predicted) or known) for predicted in self.said] for known in sets]
        return np.array(rows, dtype=np.uint8)

    @cached_property
    def _displayed_leaf(self) -> np.ndarray:
        """Leaf of each code for display: background if allowed, else the first."""
        background, sets = self.codebook.space.background, self.codebook.sets
        leaf = [background if background in leaves else min(leaves) for leaves in sets]
        return np.array(leaf, dtype=np.uint8)

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the narrowed label sets of one scan."""
        segmenter, available = self.segmenter, sample.present or (True,) * len(sample.image)
        empty = torch.zeros_like(sample.image[0])
        image = torch.stack([empty if n is None else sample.image[n] for n in self.images])
        present = [n is not None and available[n] for n in self.images]
        completed = segmenter.completed(image, present)
        logits = predict_logits(
            segmenter.network, completed, segmenter.head, segmenter.window, segmenter.device
        )
        summing_head = make_head(segmenter.head.name, segmenter.head.space)
        codes = sample.codes.numpy()
        new, confidence = codes.copy(), np.zeros(codes.shape, dtype=np.uint8)
        for start in range(0, len(codes), PLANES):
            planes = slice(start, start + PLANES)
            part = logits[None, :, planes].float()
            leaf = segmenter.head.decode(part)[0].long().cpu()
            probable = summing_head.leaf_scores(part)[0].softmax(0).cpu()
            probability = probable.gather(0, leaf[None])[0].numpy()
            narrowed = self._narrowed_codes[codes[planes], leaf.numpy()]
            new[planes] = np.where(probability >= self.min_confidence, narrowed, codes[planes])
            confidence[planes] = (probability * CERTAIN).round()
        return PseudoLabels(self._displayed_leaf[new], confidence, new)
