"""Candidate scans for annotation: training scans of a run, or files without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neoseg.cohort import Scan
from neoseg.cohort.annotation import FULL
from neoseg.cohort.picking import entities_of
from neoseg.cohort.plan import Plan, Source
from neoseg.findings.settings import ConfigError
from neoseg.inference.inputs import find_scans
from neoseg.labels import LabelSpace, Protocol, hide_slices
from neoseg.runs.loading import images_of
from neoseg.runs.people import meaning_of
from neoseg.store import Geometry
from neoseg.store.reading import read_codes


@dataclass(frozen=True)
class Candidate:
    """A scan that may be annotated: its ids, files, and current annotation.

    `meaning` is a digest of what the integers of its label file stand for.
    """

    subject: str
    session: str | None
    name: str
    images: tuple[Path | None, ...]
    mask: Path | None
    files: tuple[Path, ...]
    protocol: Protocol
    known: Callable[[Geometry], np.ndarray] | None = None
    cohort: str = ""
    meaning: str = ""


def of_run(plan: Plan) -> list[Candidate]:
    """Return the training scans of a run that are not annotated in full; raises `ConfigError`."""
    candidates = list[Candidate]()
    for source in plan.sources:
        for scan, item in source.of_split("train"):
            if item.stream == FULL:
                continue
            if item.protocol not in source.protocols:
                raise ConfigError(
                    f"{scan.id} was annotated as '{item.protocol}' in the run, which its table of "
                    "annotations does not name any more; restore it, or name scans with pool=DIR"
                )
            protocol = source.protocols[item.protocol]
            known = None if scan.label is None else _reader_of_codes(plan, source, scan, protocol)
            files = tuple(p for p in (*scan.images, scan.label, scan.mask) if p is not None)
            name, cohort = plan.scan_name(source, scan), source.cohort.name
            ids, paths = (scan.subject, scan.session, name), (scan.images, scan.mask, files)
            meaning = meaning_of(scan, source.cohort.convention)
            candidates.append(Candidate(*ids, *paths, protocol, known, cohort, meaning))
    return candidates


def _reader_of_codes(
    plan: Plan, source: Source, scan: Scan, protocol: Protocol
) -> Callable[[Geometry], np.ndarray]:
    def read(geometry: Geometry) -> np.ndarray:
        lookup = source.lookup(scan, protocol.name, plan.codebook)
        codes: np.ndarray = lookup[
            read_codes(scan, scan.meaning(source.cohort.convention), geometry)
        ]
        cropped = codes[geometry.box]
        slices = protocol.slices_of(cropped, plan.codebook, plan.slice_seed(source, scan))
        hide_slices(cropped, slices, protocol.slice_axis)
        return codes

    return read


def of_files(
    run: Path, pool: Path, modalities: tuple[str, ...], desc: str | None, space: LabelSpace
) -> list[Candidate]:
    """Return the unlabelled scans in `pool`, which `predict` would accept as input."""
    candidates = []
    for scan in find_scans(pool, modalities, desc, *images_of(run)):
        stem = scan.source.name.split(".")[0]
        names = entities_of(stem)
        subject, session = names.get("sub", stem), names.get("ses")
        files = tuple(path for path in (*scan.images, scan.mask) if path is not None)
        unlabelled = Protocol.unlabelled(space)
        name = (str(scan.source.relative_to(pool)) if pool.is_dir() else stem,)
        candidates.append(
            Candidate(subject, session, *name, scan.images, scan.mask, files, unlabelled)
        )
    return candidates
