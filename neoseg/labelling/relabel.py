"""What a network that knows other labels says of scans, as label sets of the new table."""

from __future__ import annotations

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
    """Return the codebook with all that a network can add to its label sets.

    Args:
        codebook: of the annotations.
        said: what each leaf of the network means, see `translated`.

    Raises:
        LabelError: more label sets than fit into a byte.
    """
    both = {one & other for one in codebook.sets for other in said} - {frozenset()}
    return Codebook.build(codebook.space, (*codebook.sets, *both))


@dataclass(frozen=True)
class SourceLabeller(Labeller):
    """Narrows what annotations leave open to what an older network says.

    Where it is not sure, or contradicts the annotation, the annotation stays.

    Attributes:
        segmenter: the older network.
        said: what each of its leaves means in the new table.
        images: place among the images of a scan of each one that it reads; None where they lack it.
    """

    segmenter: Segmenter
    said: tuple[LabelSet, ...]
    images: tuple[int | None, ...]

    @cached_property
    def _narrowed(self) -> np.ndarray:
        """Code by the code of the annotation and by the leaf of the network, uint8 `[R, L]`."""
        code, sets = self.codebook.code, self.codebook.sets
        rows = [[code((known & said) or known) for said in self.said] for known in sets]
        return np.array(rows, dtype=np.uint8)

    @cached_property
    def _shown(self) -> np.ndarray:
        """A leaf for each code, for people to look at: background where allowed, else the first."""
        background, sets = self.codebook.space.background, self.codebook.sets
        shown = [background if background in leaves else min(leaves) for leaves in sets]
        return np.array(shown, dtype=np.uint8)

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the label sets of one scan."""
        use, here = self.segmenter, sample.present or (True,) * len(sample.image)
        empty = torch.zeros_like(sample.image[0])
        image = torch.stack([empty if n is None else sample.image[n] for n in self.images])
        present = [n is not None and here[n] for n in self.images]
        completed = use.completed(image, present)
        logits = predict_logits(use.network, completed, use.head, use.window, use.device)
        free = make_head(use.head.name, use.head.space)
        codes = sample.codes.numpy()
        new, sure = codes.copy(), np.zeros(codes.shape, dtype=np.uint8)
        for start in range(0, len(codes), PLANES):
            planes = slice(start, start + PLANES)
            part = logits[None, :, planes].float()
            leaf = use.head.decode(part)[0].long().cpu()
            probable = free.leaf_scores(part)[0].softmax(0).cpu()
            certain = probable.gather(0, leaf[None])[0].numpy()
            said = self._narrowed[codes[planes], leaf.numpy()]
            new[planes] = np.where(certain >= self.min_confidence, said, codes[planes])
            sure[planes] = (certain * CERTAIN).round()
        return PseudoLabels(self._shown[new], sure, new)
