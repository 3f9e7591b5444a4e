"""Damage files and kill commands by the hundred, and count what comes of it.

python experiments/reliability/faults.py --count 2000 --kills 8
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import judge
import kills

HERE = Path(__file__).parent
MEMORY = 8 << 30
"""Bytes of address space: a header that announces more must not get it."""


def damage(count: int, seed: int, folder: Path) -> list[judge.Outcome]:
    """Try `count` images and label maps, and half as many tables."""
    (folder / "images").mkdir()
    found = [judge.judge_image(number, folder / "images") for number in range(seed, seed + count)]
    judge.make_tree(folder / "tree")
    numbers = range(seed, seed + count // 2)
    return found + [judge.judge_table(number, folder / "tree") for number in numbers]


def rows_of(outcomes: Sequence[judge.Outcome], killed: Sequence[kills.Kill]) -> list[dict]:
    """Return one row for each kind of file and each command."""
    rows = []
    for group in dict.fromkeys(outcome.group for outcome in outcomes):
        counts = Counter(outcome.verdict for outcome in outcomes if outcome.group == group)
        rows.append(
            {
                "what": f"damaged {group}",
                "tried": counts.total(),
                "listed_problem": counts[judge.PROBLEM],
                "correct_result": counts[judge.CORRECT],
                "another_file": counts[judge.OTHER],
                "wrong_result": counts[judge.WRONG],
                "traceback": counts[judge.TRACEBACK],
            }
        )
    for name in dict.fromkeys(kill.command for kill in killed):
        own = [kill for kill in killed if kill.command == name]
        lost = sum(not kill.survived for kill in own)
        rows.append(
            {
                "what": f"{name} killed and started again",
                "tried": len(own),
                "listed_problem": 0,
                "correct_result": len(own) - lost,
                "another_file": 0,
                "wrong_result": lost,
                "traceback": 0,
            }
        )
    return rows


def merged(rows: list[dict], path: Path) -> list[dict]:
    """Put the rows in place of those in an earlier table; what was not tried again stays."""
    if not path.is_file():
        return rows
    with path.open(encoding="utf-8", newline="") as handle:
        earlier = [
            {key: row["what"] if key == "what" else int(row.get(key, 0)) for key in rows[0]}
            for row in csv.DictReader(handle)
        ]
    tried = {row["what"] for row in rows}
    return rows + [row for row in earlier if row["what"] not in tried]


def write(rows: Sequence[dict], folder: Path) -> None:
    """Write `results.csv` and `results.md`."""
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "what"}
    lines = ["| " + " | ".join(key.replace("_", " ") for key in rows[0]) + " |"]
    lines += ["|---" + "|--:" * len(total) + "|"]
    lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    lines += ["| **all** | " + " | ".join(f"**{value}**" for value in total.values()) + " |"]
    lost = total["wrong_result"] + total["traceback"]
    text = (
        "\n".join(lines)
        + f"\n\nInputs tried: {total['tried']}. Faults survived: {total['tried'] - lost}. "
        f"Work lost: {lost or 'none'}.\n"
    )
    (folder / "results.md").write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="images; half as many tables")
    parser.add_argument("--kills", type=int, default=8, help="of each command; 8 are all signals")
    parser.add_argument("--only", help="kill this command alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    options = parser.parse_args()
    killed: list[kills.Kill] = []
    with tempfile.TemporaryDirectory() as scratch:
        if options.kills:
            killed = kills.kill_all(
                Path(scratch) / "kills", options.kills, options.seed, options.only
            )
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        outcomes = damage(options.count, options.seed, Path(scratch))
    for outcome in outcomes:
        if not outcome.is_fine:
            print(outcome.seed, outcome.group, outcome.kinds, outcome.detail, sep="\n")
    for kill in killed:
        if not kill.survived:
            print(kill)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = merged(rows_of(outcomes, killed), options.output / "results.csv")
    write(rows, options.output)
    print((options.output / "results.md").read_text(encoding="utf-8"))
    return int(any(row["wrong_result"] + row["traceback"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
