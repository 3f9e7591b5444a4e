"""The tidy score table of a run, one row per scan and class: reading, writing, summaries."""

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from neoseg.evaluation.metrics import METRICS
from neoseg.evaluation.scores import ClassScore
from neoseg.findings.markup import uncell, write_csv
from neoseg.foreign import read_table

AGE_GROUPS = ("all", "preterm", "term")

_NA = float("nan")
_TEXT = ("cohort", "subject", "session", "age_group", "class", "abbreviation")
_FLAGS = ("hidden", "is_leaf", "missed", "invented")
_VOLUMES = ("truth_ml", "prediction_ml")
_DEFAULTS: dict[str, float | str] = {
    "nsd": _NA,
    "nsd_tolerance": _NA,
    "known": 1.0,
    "violation": _NA,
    "ece": _NA,
    "cohort": "",
}
"""Columns that tables of earlier versions lack, with the value that is filled in."""

LONGEST_TEXT, MOST_CLASSES, LARGEST_NUMBER = 1000, 1000, 1e9
"""Limits of a score table: characters of a text, structures, and millimetres or millilitres."""

_BOUNDS = {
    **{name: (metric.least, metric.most) for name, metric in METRICS.items()},
    **dict.fromkeys((*_VOLUMES, "scan_age"), (0.0, inf)),
    "known": (0.0, 1.0),
}
"""Least and largest values of numbers; the others have none."""

SCAN = ("cohort", "subject", "session")
"""Columns that identify a scan."""

_NUMBERS = ("scan_age", *METRICS, *_VOLUMES, "volume_error_ml", "nsd_tolerance", "known")
COLUMNS = (
    *(*SCAN, "scan_age", "age_group", "class", "abbreviation"),
    *("hidden", "is_leaf", *METRICS, *_VOLUMES, "volume_error_ml", "missed", "invented"),
    *("nsd_tolerance", "known"),
)
"""Columns of `scores.csv`, in order."""


def score_frame(
    scores: Iterable[ClassScore],
    *,
    subject: str,
    session: str | None,
    scan_age: float | None,
    age_group: str,
    hidden: Collection[str] = (),
    cohort: str = "",
) -> pd.DataFrame:
    """Return the rows of one scan.

    `hidden` has the abbreviations of the classes that the run's annotation protocol hides in
    partially annotated scans; `scan_age` is the post-menstrual age in weeks.
    """
    rows = []
    for score in scores:
        row = asdict(score)
        row |= {"volume_error": score.volume_error, "volume_error_ml": score.volume_error_ml}
        row["class"] = row.pop("name")
        row |= {"subject": subject, "session": session or "", "age_group": age_group}
        row |= {"scan_age": scan_age, "hidden": score.abbreviation in hidden, "cohort": cohort}
        rows.append(row)
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def write_scores(path: Path, scores: pd.DataFrame) -> None:
    """Write the rows of one or several scans as CSV, atomically."""
    # A float64 needs 17 significant digits to be read back unchanged.
    write_csv(path, scores[list(COLUMNS)], float_format="%.17g")


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score file; ids stay text with leading zeros, and a missing session is "".

    Columns that tables of earlier versions lack are filled with defaults or computed from the
    volumes.

    Raises:
        ValueError: if the file is not a valid score table; the message names the file and cause.
    """
    content = io.StringIO(read_table(path, path.parent))
    try:
        frame = pd.read_csv(content, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    frame = frame.fillna("").rename(columns=uncell).apply(lambda column: column.map(uncell))
    computed = ("volume_error", "volume_error_ml")
    absent = [name for name in (*_DEFAULTS, *computed) if name not in frame.columns]
    missing = [name for name in COLUMNS if name not in (*frame.columns, *absent)]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; it is not a score table of this version, "
            "evaluate the run again"
        )
    if frame.empty:
        raise ValueError(f"{path} has no rows; evaluate the run again")
    for name in _TEXT:
        if name in frame.columns and (length := max(map(len, frame[name]))) > LONGEST_TEXT:
            raise ValueError(f"{path}, column {name}: a text of {length} letters")
    for name in ("class", "abbreviation"):
        if (count := frame[name].nunique()) > MOST_CLASSES:
            raise ValueError(f"{path}, column {name}: {count} structures, too many for a table")
    for name in ("subject", "session"):
        # Ids become file names: in an untrusted run they must not lead out of its folder.
        invalid = {text for text in frame[name] if set("/\\\0") & set(text)}
        if name == "subject" and (frame[name] == "").any():
            raise ValueError(f"{path}, column {name}: an id is empty")
        if invalid:
            raise ValueError(f"{path}, column {name}: {min(invalid)!r} is no id, it has a slash")
    duplicated = frame.duplicated(
        [name for name in (*SCAN, "abbreviation") if name in frame.columns]
    )
    if duplicated.any():
        raise ValueError(
            f"{path} has two rows of {frame.loc[duplicated, 'abbreviation'].iloc[0]!r} of one scan"
        )
    if unknown := set(frame["age_group"]) - {"preterm", "term", "unknown"}:
        raise ValueError(f"{path}, column age_group: found {min(unknown)!r}")
    for name in _FLAGS:
        invalid = set(frame[name]) - {"True", "False"}
        if invalid:
            raise ValueError(
                f"{path}, column {name}: found {sorted(invalid)[0]!r}, expected True or False"
            )
        frame[name] = frame[name] == "True"
    try:
        table = _completed(frame, absent)
    except ValueError as error:
        raise ValueError(f"{path} holds text where a number is expected: {error}") from None
    for name in _NUMBERS:
        least, most = _BOUNDS.get(name, (-inf, inf))
        low, high = max(least, -LARGEST_NUMBER), min(most, LARGEST_NUMBER)
        outside = table[name][(table[name] < low) | (table[name] > high)]  # infinite ones, too
        if len(outside):
            raise ValueError(
                f"{path}, column {name}: found {outside.iloc[0]:g}, expected {low:g} to {high:g}"
            )
    return table


def _completed(frame: pd.DataFrame, absent: Sequence[str]) -> pd.DataFrame:
    """Add the columns that an earlier version did not write."""
    for name in absent:
        frame[name] = _DEFAULTS.get(name, _NA)
    frame = _typed(frame[[*COLUMNS, *(c for c in frame.columns if c not in COLUMNS)]])
    error = frame["prediction_ml"] - frame["truth_ml"]
    if "volume_error_ml" in absent:
        frame["volume_error_ml"] = error
    if "volume_error" in absent:
        frame["volume_error"] = error / frame["truth_ml"].where(frame["truth_ml"] > 0)
    return frame


def of_age(frame: pd.DataFrame, group: str) -> pd.DataFrame:
    """Return the rows of an age group; "all" includes scans of unknown age."""
    return frame if group == "all" else frame[frame["age_group"] == group]


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per structure, in order of first appearance.

    For each metric: `<metric>_mean`, `_std` (n - 1), `_median` and `_n`, the number of scans to
    which it applies; then `misses` of the `present` scans whose truth has the class, and
    `inventions` in the `absent` ones.
    """
    grouped = scores.groupby("abbreviation", sort=False, dropna=False)
    table = grouped[list(METRICS)].agg(["mean", "std", "median", "count"])
    pairs: Iterable[Any] = table.columns
    table.columns = [f"{m}_{'n' if how == 'count' else how}" for m, how in pairs]
    table["misses"] = grouped["missed"].sum()
    table["inventions"] = grouped["invented"].sum()
    table["present"] = grouped["truth_ml"].agg(lambda volume: int((volume > 0).sum()))
    table["absent"] = grouped["truth_ml"].agg(lambda volume: int((volume == 0).sum()))
    return table.reset_index()


def mean_dice(scores: pd.DataFrame) -> float:
    """Return the mean over leaves of each leaf's mean Dice over scans."""
    return float(scores[scores["is_leaf"]].groupby("abbreviation")["dice"].mean().mean())


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    for name in _NUMBERS:
        frame[name] = pd.to_numeric(frame[name].replace("", None)).astype(float)
    for name in _FLAGS:
        frame[name] = frame[name].astype(bool)
    for name in _TEXT:
        frame[name] = frame[name].astype(str)
    return frame
