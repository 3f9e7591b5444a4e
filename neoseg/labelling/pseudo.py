"""Pseudo-labels for the scans of a training cohort: predicted, stored, and shown to people."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from neoseg.digests import digest_of_content
from neoseg.files import replacing
from neoseg.inference.dataset import Provenance
from neoseg.inference.derivative import (
    image_like,
    open_source,
    write_derivative,
)
from neoseg.inference.segmenter import Segmenter
from neoseg.inference.window import predict_logits
from neoseg.labels import Codebook
from neoseg.locks import HeldError, locked
from neoseg.networks import Head, make_head
from neoseg.patches.dataset import TrainingScan
from neoseg.patches.pseudo import PseudoLabels, is_written, restrict, write_pseudo_labels
from neoseg.patches.volumes import VolumeDataset, VolumeSample
from neoseg.store import to_canonical, to_native

log = logging.getLogger(__name__)

PLANES = 8
"""Sagittal planes that are decided at a time."""


@dataclass(frozen=True)
class Labeller(ABC):
    """Fills in what annotations leave open.

    Attributes:
        codebook: the meaning of the annotations' codes.
        min_confidence: 0 to 1; predictions below it leave the annotation as it was.
        limit: voxel positions kept per code for class-balanced sampling.
        weights: digest of what predicts, beside these settings.
    """

    codebook: Codebook
    min_confidence: float
    limit: int
    weights: str

    def made_of(self, scan: TrainingScan) -> str:
        """Return a digest of all that decides what the labels of a scan are."""
        asked = [self.weights, self.min_confidence, self.limit]
        lookup = scan.visible.lookup.tolist()
        return digest_of_content([*asked, scan.entry.folder.name, lookup])

    @abstractmethod
    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the labels of one scan, whose codes tell what is known of it."""

    def label(
        self,
        scans: Sequence[TrainingScan],
        root: Path,
        derivatives: Path,
        provenance: Provenance,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Write the labels of `scans` below `root` and as BIDS derivatives.

        Scans whose labels `root` holds already, made of the same, are left as they are, so that an
        interrupted call can be made again.

        Raises:
            DerivativeError: a folder of derivatives that belongs to something else.
        """
        root.mkdir(parents=True, exist_ok=True)
        samples = VolumeDataset(scans)
        waiting = list(range(len(scans)))
        # Processes share the scans: each first takes those that no other has, then waits for those.
        for seconds in (0, None):
            busy = []
            for number in waiting:
                scan = scans[number]
                try:
                    with locked(root / f".{scan.entry.scan.id}.lock", seconds):
                        made_of = self.made_of(scan)
                        if not is_written(scan, root, made_of):
                            sample = samples[number]
                            labels = self.predict(sample)
                            if labels.note:
                                log.warning("%s: %s", scan.entry.scan.id, labels.note)
                            # First what people read: the stored labels say that it is done.
                            _write_derivatives(scan, labels, derivatives, self.codebook, provenance)
                            write_pseudo_labels(scan, labels, root, self.limit, made_of)
                except HeldError:
                    busy.append(number)
                    continue
                if progress is not None:
                    progress(scan.entry.scan.id)
            waiting = busy


@dataclass(frozen=True)
class PseudoLabeller(Labeller):
    """Networks that fill in together what annotations leave open.

    Attributes:
        segmenters: the networks and how they are used; all with the same head. The mean of their
            probabilities decides.
    """

    segmenters: tuple[Segmenter, ...]

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the most probable leaf of each voxel's label set."""
        head = self.segmenters[0].head
        found = (
            predict_logits(
                use.network,
                use.completed(sample.image, sample.present),
                use.head,
                use.window,
                use.device,
            )
            for use in self.segmenters
        )
        logits = ensemble_logits(found, head) if len(self.segmenters) > 1 else next(found)
        return decide(logits, sample.codes, head, self.codebook, self.min_confidence)


def ensemble_logits(found: Iterable[Tensor], head: Head) -> Tensor:
    """Return the float32 logits `[N, X, Y, Z]` whose probabilities are the mean of several.

    Args:
        found: logits `[N, X, Y, Z]` of each network, consumed one at a time.
        head: says what the logits mean.
    """
    single = head.name == "softmax"
    total, count = None, 0
    for logits in found:
        part = logits.float()
        part = part.softmax(0) if single else part.sigmoid()
        total, count = part if total is None else total.add_(part), count + 1
    if total is None:
        raise ValueError("an ensemble needs the logits of at least one network")
    mean = total.div_(count)
    # Small probabilities keep their digits; only a sigmoid of 1 to rounding has no logit.
    tiny, top = torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2
    return mean.clamp_(min=tiny).log_() if single else torch.logit(mean.clamp_(tiny, top))


def decide(
    logits: Tensor, codes: Tensor, head: Head, codebook: Codebook, min_confidence: float
) -> PseudoLabels:
    """Choose the most probable leaf of each voxel's label set; where nothing is known, the head's.

    Inside a label set the head's own rule may not apply: the paper's compares with leaves outside
    of it. There the sum of evidence over the hierarchy decides, which among leaves with the same
    super-classes is the most probable channel.

    Args:
        logits: `[N, X, Y, Z]`.
        codes: uint8 `[X, Y, Z]`, rows of the codebook.
        head: says what the logits mean.
        codebook: the meaning of the codes.
        min_confidence: 0 to 1.
    """
    free = make_head(head.name, head.space)
    parts = []
    for start in range(0, logits.shape[1], PLANES):
        planes = slice(start, start + PLANES)
        part = logits[None, :, planes].float()
        evidence, decision = free.leaf_scores(part)[0], head.decode(part)[0]
        parts.append(restrict(evidence, decision, codes[planes], codebook, min_confidence))
    return PseudoLabels(
        np.concatenate([part.leaves for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.codes for part in parts]),
    )


def _write_derivatives(
    scan: TrainingScan,
    labels: PseudoLabels,
    output: Path,
    codebook: Codebook,
    provenance: Provenance,
) -> None:
    """Write the leaves as `_dseg` and the confidence (0 to 1) as `_desc-confidence_probseg`."""
    source, name, geometry = scan.entry.scan.images[0], scan.entry.scan.id, scan.entry.geometry
    assert source is not None
    leaves = to_canonical(labels.leaves, geometry, codebook.space.background)
    native = to_native(leaves, geometry)
    target = write_derivative(output, source, native, codebook.space, provenance, name)

    confidence = to_native(to_canonical(labels.confidence, geometry, 0), geometry)
    stored = image_like(open_source(source), confidence, 1 / 255)
    name = target.name.replace("_desc-neoseg_dseg", "_desc-confidence_probseg")
    with replacing(target.with_name(name)) as temporary:
        nib.save(stored, temporary)
