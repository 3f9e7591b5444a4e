"""Subjects of a run: the split, annotation and image fingerprints recorded in its folder."""

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from neoseg.cohort import Plan, Scan
from neoseg.cohort.annotation import read_plan
from neoseg.cohort.plan import Source
from neoseg.cohort.split import SPLITS, Split
from neoseg.cohort.table import read_rows
from neoseg.digests import digest_of_content
from neoseg.files import write_json
from neoseg.findings.problems import Problems, shorten
from neoseg.findings.settings import ConfigError
from neoseg.foreign import read_json, read_text
from neoseg.foreign.files import LARGEST_TABLE
from neoseg.foreign.values import json_of
from neoseg.labels import Convention
from neoseg.store.leaks import Member
from neoseg.store.signature import is_signature

log = logging.getLogger(__name__)

IMAGES = "images.json"
"""In a run folder: split and image fingerprints of each scan, by cohort and scan."""

SEEN = "seen.json"
"""In a run folder: the scans that the network of `init_from` was trained or validated on."""

SCANS = "scans.json"
"""In a run folder: cache key of the files of each scan and of their meaning, by cohort and scan."""

PLAN = "annotation.csv"

SPLIT = "split.csv"


def as_trained(plan: Plan, folder: Path) -> Plan:
    """Return a plan with the split and annotation with which the run in `folder` was trained.

    If a cohort has changed since, a newly drawn split might put training subjects into the test
    set. Scans unknown to the run are left out, with a warning; annotations of missing scans stay,
    since folds are derived from all of them. Labels that mean something else than in the training
    are told.

    Raises:
        CohortError: tables in the folder that a run did not write, or unknown split names.
    """
    first = plan.sources[0].cohort.name
    problems = Problems()
    rows = read_rows(folder / SPLIT, ("subject", "split"), problems, folder)
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLITS:
            problems.error(
                f"{folder / SPLIT} row {number}", f"found split {row['split']!r}", str(SPLITS)
            )
    problems.settle(f"the split of {folder}")
    splits = {
        (row.get("cohort") or first, row["subject"], row.get("session") or None): row["split"]
        for row in rows
    }
    trained_with = read_plan(folder / PLAN, first)
    sources = list[Source]()
    for source in plan.sources:
        name, scans = source.cohort.name, source.cohort.scans
        split_of = {scan.id: splits.get((name, scan.subject, scan.session)) for scan in scans}
        assigned = tuple(scan for scan in scans if split_of[scan.id] is not None)
        assignments = tuple(item for item in trained_with if item.cohort == name)
        subjects_by_split = [
            {scan.subject for scan in assigned if split_of[scan.id] == part} for part in SPLITS
        ]
        split = Split(*(tuple(sorted(subjects)) for subjects in subjects_by_split))
        unknown = [scan.id for scan in scans if split_of[scan.id] is None]
        if unknown:
            message = (
                f"{len(unknown)} of {len(scans)} scans of cohort '{name}' took no part in {folder}"
            )
            log.warning("%s and are left out: %s", message, shorten(unknown))
        cohort = replace(source.cohort, scans=assigned)
        sources.append(replace(source, cohort=cohort, split=split, assignments=assignments))
    plan = replace(plan, sources=tuple(sources))
    _warn_of_other_meaning(plan, folder)
    return plan


def _warn_of_other_meaning(plan: Plan, folder: Path) -> None:
    was = recorded_keys(folder)
    other = []
    for source in plan.sources:
        for scan in source.cohort.scans:
            # Other keys are errors of files, or of runs that did not note the meaning.
            noted = re.fullmatch(r"\w+ (\w{16})", was.get((source.cohort.name, scan.id), ""))
            if noted and scan.label and noted[1] != meaning_of(scan, source.cohort.convention):
                other.append(scan.id)
    if other:
        log.warning(
            "the integers in the label files of %d scans mean something else than in the training "
            "of %s, so that scores and training differ by that as well: %s",
            *(len(other), folder, shorten(other)),
        )


def meaning_of(scan: Scan, convention: Convention) -> str:
    """Return 16 hex digits that change with what the integers of a label file stand for."""
    return digest_of_content([sorted(leaves) for leaves in scan.sets(convention)])


def recorded_keys(folder: Path) -> dict[tuple[str, str], str]:
    """Return what `scans.json` of a run holds, by cohort and scan; empty without that file.

    Raises:
        ConfigError: a file that a run did not write.
    """
    path = folder / SCANS
    if not path.exists():
        return {}
    try:
        content = read_json(path, within=folder)
        return {(c, s): str(key) for c, scans in content.items() for s, key in scans.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not what a run writes ({error!r}); restore it") from None


def write_images(folder: Path, members: Sequence[Member]) -> None:
    """Write the image fingerprints of a run, by which an evaluation recognises its scans."""
    content: dict[str, dict[str, list[str]]] = {}
    for member in members:
        fingerprint = [member.part, member.digest, member.signature]
        content.setdefault(member.scan.cohort, {})[member.scan.id] = fingerprint
    write_json(folder / IMAGES, content)


def write_seen(folder: Path, source: str, members: Sequence[Member]) -> None:
    """Write the scans on which the network `source`, from which a run starts, was trained."""
    rows = [
        [m.scan.cohort, m.scan.subject, m.scan.session, m.part, m.digest, m.signature]
        for m in members
    ]
    write_json(folder / SEEN, {"from": source, "scans": rows})


def seen_before(folder: Path, source: str | None = None) -> list[Member] | None:
    """Return what `write_seen` wrote; None if there is no such file, or one of another source.

    Raises:
        ConfigError: a file that a run did not write.
    """
    if not (folder / SEEN).is_file():
        return None
    try:
        content = json_of(read_text(folder / SEEN, LARGEST_TABLE, folder), str(folder / SEEN))
        members = [
            _seen(str(cohort), str(subject), session and str(session), *map(str, rest))
            for cohort, subject, session, *rest in content["scans"]
        ]
        if any(member.signature and not is_signature(member.signature) for member in members):
            raise ValueError("a signature of another length")
        return members if source in (None, content["from"]) else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{folder / SEEN} is not what a run writes ({error}); restore it"
        ) from None


def _seen(
    cohort: str, subject: str, session: str | None, part: str, digest: str = "", signature: str = ""
) -> Member:
    scan = Scan(subject, session, (None,), None, None, None, None, cohort)
    return Member(scan, part, digest, signature)


def seen_by(
    folder: Path, parts: Collection[str] = ("train", "val"), before: bool = True
) -> list[Member]:
    """Return the scans of parts of a run, with any recorded fingerprints.

    With `before`, they include those on which the network was trained that it started from.
    """
    images: dict[tuple[str, str], tuple[str, str]] = {}
    try:
        text = read_text(folder / IMAGES, LARGEST_TABLE, folder)  # 5 kB per scan
        content = json_of(text, str(folder / IMAGES))
        images = {
            (cohort, scan): (str(digest), signature if is_signature(str(signature)) else "")
            for cohort, scans in content.items()
            for scan, (_, digest, signature) in scans.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        log.warning("%s has no fingerprints of its images, which cannot be compared", folder)
    earlier = seen_before(folder) if before else None
    members = [member for member in earlier or [] if member.part in parts]
    for item in read_plan(folder / PLAN) if (folder / PLAN).is_file() else ():
        if item.split in parts:
            member = _seen(item.cohort, item.subject, item.session, item.split)
            digest, signature = images.get((item.cohort, member.scan.id), ("", ""))
            members.append(replace(member, digest=digest, signature=signature))
    return members
