"""Compare what an audit found with what was broken.

python experiments/audit/judge.py BROKEN/broken.csv AUDIT_DIR [RESULTS.csv]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

COLUMNS = ["set", "fault", "broken", "precision", "found", "sound_scans_listed"]


def judged(broken: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return for each fault the precision at the number broken, and what else was listed.

    Of the findings of its kind, without scans of another fault of that kind, those with the highest
    scores count, as many as were broken so; too short a list has misses. A broken scan counts as
    found where it is in the list at all, under whatever kind.
    """
    rows = []
    sound = findings[~findings["subject"].isin(broken["subject"])]
    for fault, part in broken.groupby("fault", sort=False):
        kind = part["kind"].iloc[0]
        others = broken.loc[(broken["kind"] == kind) & (broken["fault"] != fault), "subject"]
        own = findings[(findings["kind"] == kind) & ~findings["subject"].isin(others)]
        own = own.drop_duplicates("subject")
        first = own.head(len(part))["subject"]
        hits = first.isin(part["subject"]).sum()
        found = part["subject"].isin(findings["subject"]).sum()
        wrong = sound.loc[sound["kind"] == kind, "subject"].nunique()
        rows.append([fault, len(part), round(hits / len(part), 3), found, wrong])
    return pd.DataFrame(rows, columns=COLUMNS[1:])


def main() -> None:
    """Print the table, and add it to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broken", type=Path)
    parser.add_argument("audit", type=Path)
    parser.add_argument("results", type=Path, nargs="?")
    given = parser.parse_args()
    broken = pd.read_csv(given.broken, dtype={"subject": str})
    findings = pd.read_csv(given.audit / "findings.tsv", sep="\t", dtype={"subject": str})
    table = judged(broken, findings)
    print(table.to_string(index=False))
    others = findings[~findings["subject"].isin(broken["subject"])]
    print(f"{len(findings)} findings; sound scans in the list: {others['subject'].nunique()}")
    if given.results is not None:
        table.insert(0, "set", findings["cohort"].iloc[0])
        if given.results.is_file():
            kept = pd.read_csv(given.results)
            table = pd.concat([kept[kept["set"] != table["set"].iloc[0]], table])
        table.to_csv(given.results, index=False)


if __name__ == "__main__":
    main()
