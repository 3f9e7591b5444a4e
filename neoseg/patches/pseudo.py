"""Pseudo-labels: predictions that respect what is known, kept as codes beside the prepared scans.

They are stored on the prepared grid as rows of the run's codebook, so that they stand in for the
scan's own codes wherever those are read.
"""

from __future__ import annotations

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
"""In the folder of a scan's pseudo-labels: a digest of the networks, settings and files."""

CERTAIN = 255
"""Confidence of a voxel whose label set has one leaf; 0 to 255 stand for 0 to 1."""


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of one scan, all uint8 `[X, Y, Z]` on the prepared grid.

    Attributes:
        leaves: the most probable leaf of each voxel's label set, as position.
        confidence: its probability given the label set, times 255.
        codes: what training sees: certain leaves, or the annotation's code where the prediction
            was not confident enough.
        note: what a person should know of how they came about, "" for nothing.
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
        decision: `[X, Y, Z]`, leaf positions chosen where nothing is known.
        codes: uint8 `[X, Y, Z]`, what the annotation tells, rows of the codebook.
        codebook: the meaning of the codes.
        min_confidence: 0 to 1; predictions below it leave the code as it was.
    """
    rows = torch.from_numpy(codebook.rows).to(evidence.device)
    single, nothing = rows.sum(1) == 1, rows.all(1)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for number in range(codes.shape[0]):  # a sagittal plane at a time: float32 copies stay small
        code = codes[number].to(evidence.device).long()
        allowed = rows[code].movedim(-1, 0)
        probable = evidence[:, number].float().masked_fill(~allowed, -torch.inf).softmax(0)
        leaf = probable.argmax(0)
        chosen = decision[number].to(evidence.device).long()
        leaf = torch.where(nothing[code], chosen, leaf)
        sure = probable.gather(0, leaf[None])[0]
        # Codes 1 to K are the single leaves, whose own code stays.
        keep = single[code] | (sure < min_confidence)
        parts.append((leaf, (sure * CERTAIN).round(), torch.where(keep, code, leaf + 1)))
    leaves, confidence, new = (
        torch.stack(planes).to(torch.uint8).cpu().numpy() for planes in zip(*parts, strict=True)
    )
    return PseudoLabels(leaves, confidence, new)


def needs_prediction(scan: TrainingScan, codebook: Codebook) -> bool:
    """Whether the annotation of a scan can leave a voxel open."""
    if not scan.entry.annotated or scan.visible.slices is not None:
        return True
    shown = scan.entry.located()
    return any(codebook.rows[scan.visible.lookup[code]].sum() > 1 for code in shown)


def is_written(scan: TrainingScan, root: Path, made_of: str | None = None) -> bool:
    """Whether `root` holds pseudo-labels of a scan: any, or those that were made of the same."""
    folder = root / scan.entry.scan.id
    try:
        return folder.is_dir() and made_of in (None, (folder / MADE_OF).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return made_of is None


def write_pseudo_labels(
    scan: TrainingScan, labels: PseudoLabels, root: Path, limit: int, made_of: str = ""
) -> None:
    """Write the labels of a scan below `root`, whole or not at all, in place of others.

    `limit` is the number of voxel positions that are kept per code; `made_of` see `is_written`.
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
    """Return the scan with its pseudo-labels in place of its codes, if `root` has some."""
    if not is_written(scan, root):
        return scan
    entry = replace(scan.entry, labels=root / scan.entry.scan.id)
    lookup = np.arange(MAX_CODES, dtype=np.uint8)
    protocol = Protocol.full(codebook.space)
    visible = visible_labels(entry, lookup, protocol, codebook, (0,), limit)
    return replace(scan, entry=entry, visible=visible)
