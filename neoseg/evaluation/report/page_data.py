"""Assemble the data of a report for the HTML page."""

import logging
from pathlib import Path
from typing import Any

from neoseg.evaluation.budget import BUDGET
from neoseg.evaluation.report.cautions import FEW_SUBJECTS, cautions
from neoseg.evaluation.report.compare import Comparison
from neoseg.evaluation.report.page import PAGE, write_page
from neoseg.evaluation.report.page_lists import (
    arm_entries,
    case_entries,
    comparison_entries,
    rounded,
    score_entries,
)
from neoseg.evaluation.report.sprites import data_uri
from neoseg.evaluation.report.text import Parts, notes

log = logging.getLogger(__name__)

_MIB = 2**20


def write_report_page(comparison: Comparison, parts: Parts, output: Path) -> None:
    """Write `report.html`; figures and cards in `output` must exist, because it embeds them."""
    arms = arm_entries(comparison.frame)
    names = [arm["name"] for arm in arms]
    scores = score_entries(comparison.summary, names)
    classes = [entry["abbreviation"] for entry in scores["classes"]]
    settings = comparison.settings
    limit = int(settings.megabytes * _MIB)
    cases, left_out = case_entries(comparison.cases, comparison.runs, names, settings.slices, limit)
    for title in left_out:
        log.warning("not in the page, for lack of pictures or of room: %s", title)
    note_texts = notes(comparison)
    if left_out:
        note_texts.append(f"Cases that the page does not hold: {'; '.join(left_out)}.")
    data = {
        "about": comparison.about,
        "warning": " ".join(cautions(comparison)),
        "fewSubjects": FEW_SUBJECTS,
        "interval": f"{100 * settings.level:g} % interval",
        "arms": arms,
        **scores,
        "tests": comparison_entries(comparison.tests, names, classes),
        **cases,
        "figures": [
            {"title": title, "src": data_uri((output / f"{name}.png").read_bytes())}
            for name, title in parts.figures.items()
        ],
        "runs": _runs(comparison, names),
        "unfinished": [
            {"run": str(left.path), "reason": left.reason}
            for left in comparison.collected.unfinished
        ],
        "cards": [
            {"run": run, "text": (output / path).read_text(encoding="utf-8")}
            for run, path in parts.cards.items()
        ],
        "notes": note_texts,
    }
    write_page(output / PAGE, "Comparison of runs", data)


def _runs(comparison: Comparison, arms: list[str]) -> list[dict[str, Any]]:
    rows = []
    for row in comparison.table.to_dict("records"):
        if isinstance(row["left_out"], str):
            continue
        joules = [row[key] for key in ("processor_joules", "gpu_joules")]
        measured = [value for value in map(rounded, joules) if value is not None]
        seconds = rounded(row["seconds"])
        rows.append(
            {
                "run": row["run"],
                "arm": arms.index(row["arm"]),
                "draw": row["draw"],
                "dice": rounded(row["dice"]),
                "steps": rounded(row["steps"]),
                "minutes": None if seconds is None else seconds / 60,
                "memory": rounded(row["peak_memory_gib"]),
                "energy": sum(measured) / 3600 if measured else None,
                "budget": "/".join(
                    f"{row[k]:.0f}" for k in BUDGET if k in row and row[k] == row[k]
                ),
                "device": row["device"] if isinstance(row["device"], str) else "n/a",
            }
        )
    return rows
