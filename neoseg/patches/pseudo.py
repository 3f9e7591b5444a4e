"""Pseudo-labels: predictions consistent with the annotations, stored as codes beside the scans.

They are stored on the prepared grid as rows of the run's codebook, so that they can replace the
scan's own codes wherever those are read.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neoseg.files import building
from neoseg.labels import MAX_CODES, Codebook, Protocol
from neoseg.patches.centres import visible_labels
from neoseg.patches.dataset import TrainingScan
from neoseg.store.entry import CODES, LOCATIONS, write_array
from neoseg.store.locations import sample_locations, write_locations

MADE_OF = "made_of"
"""File in a scan's pseudo-label folder: digest of the networks, settings and files used."""

CERTAIN = 255
"""Confidence of a voxel whose label set has one leaf; 0 to 255 represent 0 to 1."""


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of one scan, all uint8 `[X, Y, Z]` on the prepared grid.

    Attributes:
        leaves: position of the most probable leaf in each voxel's label set.
        confidence: its probability given the label set, times 255.
        codes: used in training: the leaf, or the annotation's code if the prediction was not
            confident enough.
        note: remark on how they were made, for people; "" for none.
    """

    leaves: np.ndarray
    confidence: np.ndarray
    codes: np.ndarray
    note: str = ""


def restrict(
    evidence: Tensor, decision: Tensor, codes: Tensor, codebook: Codebook, min_confidence: float
) -> PseudoLabels:
    """Choose for each voxel the most probable leaf that its annotation allows.

    Args:
        evidence: `[K, X, Y, Z]`, scores whose softmax over any set of leaves is their probability
            given that one of them is right.
        decision: `[X, Y, Z]`, leaf positions to use where nothing is annotated.
        codes: uint8 `[X, Y, Z]`, the annotation as rows of the codebook.
        codebook: the meaning of the codes.
        min_confidence: 0 to 1; predictions below it keep the annotation's code.
    """
    rows = torch.from_numpy(codebook.rows).to(evidence.device)
    single, unknown = rows.sum(1) == 1, rows.all(1)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    # One sagittal plane at a time, to keep float32 copies small.
    for number in range(codes.shape[0]):
        code = codes[number].to(evidence.device).long()
        allowed = rows[code].movedim(-1, 0)
        probable = evidence[:, number].float().masked_fill(~allowed, -torch.inf).softmax(0)
        leaf = probable.argmax(0)
        decided = decision[number].to(evidence.device).long()
        leaf = torch.where(unknown[code], decided, leaf)
        probability = probable.gather(0, leaf[None])[0]
        # Codes 1 to K are the single leaves; these are kept.
        keep = single[code] | (probability < min_confidence)
        parts.append((leaf, (probability * CERTAIN).round(), torch.where(keep, code, leaf + 1)))
    leaves, confidence, new = (
        torch.stack(planes).to(torch.uint8).cpu().numpy() for planes in zip(*parts, strict=True)
    )
    return PseudoLabels(leaves, confidence, new)


def needs_prediction(scan: TrainingScan, codebook: Codebook) -> bool:
    """Return whether the annotation of a scan may leave a voxel undetermined."""
    if not scan.entry.annotated or scan.visible.slices is not None:
        return True
    codes = scan.entry.located()
    return any(codebook.rows[scan.visible.lookup[code]].sum() > 1 for code in codes)


def is_written(scan: TrainingScan, root: Path, made_of: str | None = None) -> bool:
    """Return whether `root` holds pseudo-labels of a scan, with the digest `made_of` if given."""
    folder = root / scan.entry.scan.id
    try:
        return folder.is_dir() and made_of in (None, (folder / MADE_OF).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return made_of is None


def write_pseudo_labels(
    scan: TrainingScan, labels: PseudoLabels, root: Path, limit: int, made_of: str = ""
) -> None:
    """Write the labels of a scan below `root`, atomically, replacing earlier ones.

    `limit` is the number of voxel positions stored per code; `made_of` see `is_written`.
    """
    folder = root / scan.entry.scan.id
    with building(folder) as draft:
        write_array(draft / CODES, labels.codes)
        write_array(draft / "confidence.b2nd", labels.confidence)
        write_locations(draft / LOCATIONS, sample_locations(labels.codes, limit))
        (draft / MADE_OF).write_text(made_of, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)


def with_pseudo_labels(
    scan: TrainingScan, root: Path, codebook: Codebook, limit: int
) -> TrainingScan:
    """Return the scan with its codes replaced by its pseudo-labels, if `root` has any."""
    if not is_written(scan, root):
        return scan
    entry = replace(scan.entry, labels=root / scan.entry.scan.id)
    lookup = np.arange(MAX_CODES, dtype=np.uint8)
    protocol = Protocol.full(codebook.space)
    visible = visible_labels(entry, lookup, protocol, codebook, (0,), limit)
    return replace(scan, entry=entry, visible=visible)
