"""Pseudo-labels for the scans of a training cohort: predicted, stored, and written for review."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
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
from neoseg.processes import work_through
from neoseg.store import to_canonical, to_native

log = logging.getLogger(__name__)

PLANES = 8
"""Number of sagittal planes that are decided at a time."""


@dataclass(frozen=True)
class Labeller(ABC):
    """Base class of labellers, which refine annotations that allow several leaves.

    Attributes:
        codebook: the meaning of the annotations' codes.
        min_confidence: 0 to 1; predictions below it do not change the annotation.
        limit: voxel positions stored per code for class-balanced sampling.
        weights: digest of what the predictions depend on besides these settings.
    """

    codebook: Codebook
    min_confidence: float
    limit: int
    weights: str

    def made_of(self, scan: TrainingScan) -> str:
        """Return a digest of everything that the labels of a scan depend on."""
        settings = [self.weights, self.min_confidence, self.limit]
        lookup = scan.visible.lookup.tolist()
        return digest_of_content([*settings, scan.entry.folder.name, lookup])

    @abstractmethod
    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the labels of one scan; `sample.codes` are its annotation."""

    def count_processes(self, scans: Sequence[TrainingScan]) -> int:
        """Return how many processes should label these scans."""
        return 1

    def label(
        self,
        scans: Sequence[TrainingScan],
        root: Path,
        derivatives: Path,
        provenance: Provenance,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Write the labels of `scans` below `root` and as BIDS derivatives.

        Up-to-date labels in `root` are not computed again, so an interrupted call can be resumed.

        Raises:
            DerivativeError: the folder of derivatives belongs to another data set.
            ProcessError: a worker process was killed.
        """
        root.mkdir(parents=True, exist_ok=True)
        where = (root, derivatives, provenance)
        advance = progress or (lambda _: None)
        pending = []
        for scan in scans:
            if is_written(scan, root, self.made_of(scan)):
                advance(scan.entry.scan.id)
            else:
                pending.append(scan)
        # Runs and ranks share the scans: each first takes those that are not locked, then waits
        # for the others.
        for seconds, processes in ((0, self.count_processes(pending)), (None, 1)):
            label = partial(self._label, where, seconds)
            busy = []
            for number, note in work_through(label, pending, processes, "store.processes"):
                scan = pending[number]
                if note is None:
                    busy.append(scan)
                    continue
                if note:
                    log.warning("%s: %s", scan.entry.scan.id, note)
                advance(scan.entry.scan.id)
            pending = busy

    def _label(
        self, where: tuple[Path, Path, Provenance], seconds: float | None, scan: TrainingScan
    ) -> str | None:
        """Write the labels of a scan; return their note, None if another process works on it."""
        root, derivatives, provenance = where
        try:
            with locked(root / f".{scan.entry.scan.id}.lock", seconds):
                made_of = self.made_of(scan)
                if is_written(scan, root, made_of):
                    return ""
                labels = self.predict(VolumeDataset([scan])[0])
                # Derivatives first: the stored labels mark a scan as done.
                _write_derivatives(scan, labels, derivatives, self.codebook, provenance)
                write_pseudo_labels(scan, labels, root, self.limit, made_of)
                return labels.note
        except HeldError:
            return None


@dataclass(frozen=True)
class PseudoLabeller(Labeller):
    """Refines annotations by one or more networks.

    Attributes:
        segmenters: the networks, all with the same head; their probabilities are averaged.
    """

    segmenters: tuple[Segmenter, ...]

    def predict(self, sample: VolumeSample) -> PseudoLabels:
        """Return the most probable leaf of each voxel's label set."""
        head = self.segmenters[0].head
        outputs = (
            predict_logits(
                segmenter.network,
                segmenter.completed(sample.image, sample.present),
                segmenter.head,
                segmenter.window,
                segmenter.device,
            )
            for segmenter in self.segmenters
        )
        logits = ensemble_logits(outputs, head) if len(self.segmenters) > 1 else next(outputs)
        return decide(logits, sample.codes, head, self.codebook, self.min_confidence)


def ensemble_logits(found: Iterable[Tensor], head: Head) -> Tensor:
    """Return float32 logits `[N, X, Y, Z]` of the mean probabilities of several networks.

    Args:
        found: logits `[N, X, Y, Z]` of each network, consumed one at a time.
        head: defines the meaning of the logits.
    """
    exclusive = head.name == "softmax"
    total, count = None, 0
    for logits in found:
        part = logits.float()
        part = part.softmax(0) if exclusive else part.sigmoid()
        total, count = part if total is None else total.add_(part), count + 1
    if total is None:
        raise ValueError("an ensemble needs the logits of at least one network")
    mean = total.div_(count)
    # Small probabilities keep their precision; only a sigmoid that rounds to 1 has no finite logit.
    tiny, top = torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2
    return mean.clamp_(min=tiny).log_() if exclusive else torch.logit(mean.clamp_(tiny, top))


def decide(
    logits: Tensor, codes: Tensor, head: Head, codebook: Codebook, min_confidence: float
) -> PseudoLabels:
    """Choose the most probable leaf of each voxel's label set; if unknown, the head's decision.

    The head's decoding rule may not apply inside a label set: that of the paper compares with
    leaves outside the set. There the sum of evidence over the hierarchy decides, which among leaves
    with the same super-classes selects the most probable channel.

    Args:
        logits: `[N, X, Y, Z]`.
        codes: uint8 `[X, Y, Z]`, rows of the codebook.
        head: defines the meaning of the logits.
        codebook: the meaning of the codes.
        min_confidence: 0 to 1.
    """
    summing_head = make_head(head.name, head.space)
    parts = []
    for start in range(0, logits.shape[1], PLANES):
        planes = slice(start, start + PLANES)
        part = logits[None, :, planes].float()
        evidence, decision = summing_head.leaf_scores(part)[0], head.decode(part)[0]
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
