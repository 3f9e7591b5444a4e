"""Candidate scans for annotation: training scans of a run, or files without labels."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neoseg.cohort import Scan
from neoseg.cohort.annotation import FULL
from neoseg.cohort.freesurfer import ids_of, is_in_subject
from neoseg.cohort.picking import entities_of
from neoseg.cohort.plan import Plan, Source
from neoseg.cohort.split import SPLITS
from neoseg.errors import printable
from neoseg.findings.problems import shorten
from neoseg.findings.settings import ConfigError
from neoseg.inference.dataset import DerivativeError, require_utf8
from neoseg.inference.image_names import ScanFiles
from neoseg.labels import LabelSpace, Protocol, hide_slices
from neoseg.runs.people import meaning_of, seen_by
from neoseg.runs.unseen import member_of, seen_in_training
from neoseg.store import Geometry
from neoseg.store.leaks import Leaks
from neoseg.store.reading import read_codes

log = logging.getLogger(__name__)


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
    candidates, lacking = list[Candidate](), list[str]()
    for source in plan.sources:
        for scan, item in source.of_split("train"):
            if item.stream == FULL:
                if scan.not_drawn:
                    lacking.append(plan.scan_name(source, scan))
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
    if lacking:
        log.warning(
            "%d scans count as full, and lack structures (cohort.not_drawn): they are not planned; "
            "once these are drawn, take the scans out of not_drawn: %s",
            *(len(lacking), shorten(lacking)),
        )
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
    runs: Sequence[Path], pool: Path, scans: Sequence[ScanFiles], space: LabelSpace, leaks: Leaks
) -> list[Candidate]:
    """Return the unlabelled scans of those found in `pool`.

    Those that the runs have already are left out with a warning; so are other scans of people for
    validation or test (unless equal ids are those of `namesakes`), whose labels would train
    nothing, and repetitions within a session, since annotations are noted by session. Files
    without `sub-` whose names are those of others have ids with their folders.

    Raises:
        ConfigError: scans of different folders with equal ids.
    """
    candidates = dict[tuple[str, str | None], Candidate]()
    alike, repeated = list[str](), list[str]()
    people = ids_of({s.source.parent.parent.name for s in scans if is_in_subject(s.source)})
    stems = Counter(scan.source.name.split(".")[0] for scan in scans)
    for scan in scans:
        try:
            require_utf8(scan.source)
        except DerivativeError as error:
            log.warning("%s is left out of the plan: %s", printable(str(scan.source)), error)
            continue
        stem = scan.source.name.split(".")[0]
        names = entities_of(stem)
        if stems[stem] > 1 and "sub" not in names:
            stem = "_".join((*scan.source.relative_to(pool).parts[:-1], stem))
        subject, session = names.get("sub", stem), names.get("ses")
        if is_in_subject(scan.source):
            subject, session = people[scan.source.parent.parent.name]
        files = tuple(path for path in (*scan.images, scan.mask) if path is not None)
        unlabelled = Protocol.unlabelled(space)
        name = printable(str(scan.source.relative_to(pool)) if pool.is_dir() else stem)
        other = candidates.get((subject, session))
        if other is not None:
            same_folder = other.files[0].parent == files[0].parent
            (repeated if same_folder and "sub" in names else alike).append(
                f"{other.name} and {name}"
            )
            continue
        candidates[subject, session] = Candidate(
            subject, session, name, scan.images, scan.mask, files, unlabelled
        )
    if alike:
        raise ConfigError(
            f"{len(alike)} pairs of scans in {pool} have one id, and the table of annotations "
            f"names scans by it: {shorten(alike)}; give the files different names, or plan one "
            "folder at a time"
        )
    if repeated:
        log.warning(
            "of scans that a session has several of, only the first is planned, since the table "
            "of annotations has one line for both: %s",
            shorten(repeated),
        )
    return _unknown(list(candidates.values()), runs, leaks)


def _unknown(
    candidates: Sequence[Candidate], runs: Sequence[Path], leaks: Leaks
) -> list[Candidate]:
    """Return the scans that runs may learn from, and tell the others; see `of_files`."""
    members = [
        member_of(Scan(c.subject, c.session, c.images, None, None, None, None, ""), "pool")
        for c in candidates
    ]
    same = seen_in_training(runs, members, "none", SPLITS, before=False)
    images = {id(leak.other): leak.first.part for leak in same}
    used = [member for run in runs for member in seen_by(run, SPLITS, before=False)]
    trained = {member.person for member in used if member.part == "train"}  # by one of some folds
    people = {m.person: m.part for m in used if m.person not in trained}
    people = {} if leaks == "namesakes" else people
    left_out = dict[str, list[str]]()
    kept = []
    for candidate, member in zip(candidates, members, strict=True):
        if part := images.get(id(member)):
            left_out.setdefault(f"the same images for {part}", []).append(candidate.name)
        elif part := people.get(member.person):
            what = f"people of these ids for {part} (leaks=namesakes if they are others)"
            left_out.setdefault(what, []).append(candidate.name)
        else:
            kept.append(candidate)
    for what, names in sorted(left_out.items(), reverse=True):
        log.warning(
            "%d scans are left out, since the runs have %s: %s", len(names), what, shorten(names)
        )
    return kept
