"""Count the scans of a run by kind of annotation, from its annotation plan (`annotation.csv`)."""

from collections import Counter
from pathlib import Path
from typing import Any

from neoseg.cohort.split import SPLITS
from neoseg.cohort.table import read_rows
from neoseg.findings.problems import Problems
from neoseg.foreign import value_at
from neoseg.labels import STREAMS

BUDGET = ("train_full", "train_partial", "train_unlabelled", "validation")
"""Keys of `label_budget`; the values are numbers of scans."""


def label_budget(path: Path) -> dict[str, int]:
    """Return the number of training scans with full, partial and no labels, and of labelled
    validation scans; an empty dict if the plan cannot be read."""
    rows = protocol_counts(path)
    budget = dict.fromkeys(BUDGET, 0) if rows else {}
    for row in rows:
        labelled = row["split"] == "val" and row["stream"] != "unlabelled"
        key = "validation" if labelled else f"{row['split']}_{row['stream']}"
        if key in budget:
            budget[key] += row["scans"]
    return budget


def protocol_counts(path: Path) -> list[dict[str, Any]]:
    """Return the number of scans and subjects per split, stream and protocol of the plan.

    If the plan has several cohorts, the counts are also per cohort.
    """
    rows = read_rows(path, (), Problems(), path.parent)
    several = len({row.get("cohort") for row in rows}) > 1
    keys = (*(["cohort"] if several else []), "split", "stream", "protocol")
    scans = Counter(tuple(row.get(key) or "n/a" for key in keys) for row in rows)
    pairs = {(*(row.get(key) or "n/a" for key in keys), row.get("subject")) for row in rows}
    subjects = Counter(pair[:-1] for pair in pairs)
    return [
        dict(zip(keys, group, strict=True)) | {"scans": count, "subjects": subjects[group]}
        for group, count in scans.items()
    ]


def full_subjects(counts: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of fully labelled subjects in each part of the split.

    `counts` comes from `protocol_counts`.
    """
    subjects: dict[str, int] = Counter()
    for row in counts:
        subjects[row["split"]] += row["subjects"] if row["stream"] == "full" else 0
    return {part: subjects[part] for part in SPLITS if part in subjects}


def validation_labels(counts: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of validation scans with full, partial and no labels, without zeros.

    `counts` comes from `protocol_counts`.
    """
    scans: dict[str, int] = Counter()
    for row in counts:
        if row["split"] == "val":
            scans[row["stream"]] += row["scans"]
    return {stream: scans[stream] for stream in STREAMS if scans[stream]}


def share_of_full(run: Path, config: Any) -> float | None:
    """Return the share of training subjects with full labels; None if the run has no such key.

    This is the share that was asked for (`annotation.full_fraction`), unless the subjects were
    named (`annotation.full`, `annotation.file`), or there are several cohorts: then it is that of
    all training subjects.
    """
    asked = value_at(config, "annotation.full_fraction")
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return None
    keys = ("annotation.full", "annotation.file", "extra_cohorts")
    if not any(value_at(config, key) for key in keys):
        return float(asked)
    first = None if value_at(config, "extra_cohorts") else value_at(config, "cohort.name")
    problems = Problems()
    split, annotation = (
        [
            row
            for row in read_rows(run / name, (), problems, run)
            if row.get("split") == "train" and (not first or row.get("cohort") in (None, "", first))
        ]
        for name in ("split.csv", "annotation.csv")
    )
    if problems.errors:
        return float(asked)
    train = {(row.get("cohort"), row.get("subject")) for row in split}
    of_full = (row for row in annotation if row.get("stream") == "full")
    full = {(row.get("cohort"), row.get("subject")) for row in of_full}
    return round(len(full) / len(train), 3) if train else float(asked)


def budget_note(counts: list[dict[str, Any]]) -> list[str]:
    """Return a sentence with the number of fully labelled subjects in training and validation.

    The list is empty if training is fully labelled or validation has no fully labelled subject.
    `counts` comes from `protocol_counts`.
    """
    full = full_subjects(counts)
    partial = any(row["split"] == "train" and row["stream"] != "full" for row in counts)
    if not partial or not full.get("val"):
        return []
    train, val = full.get("train", 0), full["val"]
    used = f"Full labels of {train + val} subjects were used"
    return [f"{used}: {train} for training, {val} for validation."]
