"""Render a run card as Markdown."""

from typing import Any

import pandas as pd
import yaml

from neoseg.evaluation.overview import plus_minus
from neoseg.findings.markup import markdown, markdown_text

_COLUMNS = (("dice", "Dice", 3), ("nsd", "NSD", 3), ("hd95", "HD95 mm", 2), ("hd", "HD mm", 2))
_NA = "n/a"


def card_markdown(card: dict[str, Any]) -> str:
    """Return the card as Markdown: the facts of its JSON, with the configuration last."""
    software = card["software"]
    lines = [
        f"# Run {markdown_text(card['run'])}",
        "",
        "## Limits of use",
        "",
        *(f"- {markdown_text(text)}" for text in card["limits"]),
        "",
        *_data(card["data"]),
        "## Training",
        "",
        *_facts(experiment=card["experiment"], **card["training"]),
        "",
        *_cost(card["cost"]),
        "",
        "## Scores",
        "",
        _scores(card["scores"]),
        "## Software",
        "",
        *_facts(git=software["git"], **software["versions"]),
        "",
        *_indented(software["command"]),
        "",
        "## Configuration",
        "",
        *_indented(yaml.safe_dump(card["config"], sort_keys=False, allow_unicode=True)),
        "",
    ]
    return "\n".join(lines)


def _data(data: dict[str, Any]) -> list[str]:
    """Return the section on the scans and labels, with tables that end in an empty line."""
    return [
        "## Data",
        "",
        *_facts(
            cohort=data["cohort"],
            modalities=data["modalities"],
            label_table=data["labels"],
            fingerprint=data["fingerprint"],
            share_of_full_labels=data["full_fraction"],
            fully_labelled_subjects=data["full_subjects"] or _NA,
            labels_of_the_validation=data["validation"],
            draw=data["draw"],
            label_budget=_text(data["label_budget"]).replace("_", " "),
            merged_label_sets=data["merged_label_sets"] or "none",
        ),
        "",
        _frame(data["scans"], "No table of annotations."),
        *([_frame(data["skipped"], ""), ""] if data["skipped"] else []),
    ]


def _cost(cost: dict[str, Any]) -> list[str]:
    """Return the section on time, memory and energy."""
    energy = cost["energy_joules"]
    used = [f"{kind} {_energy(joules)}" for kind, joules in energy.items() if joules != _NA]
    return [
        "## Cost",
        "",
        *_facts(
            device=cost["device"],
            time=_time(cost["seconds"]),
            time_of_a_training_step=_unit(cost["step_seconds"], "s"),
            waiting_for_data=_percent(cost["data_wait_share"]),
            peak_memory=_unit(cost["peak_memory_gib"], "GiB"),
            peak_GPU_memory=_unit(cost["peak_gpu_memory_gib"], "GiB"),
            energy=", ".join(used) or _NA,
        ),
        "",
        "Time and energy are those of all starts of the run; energy is that of the whole devices, "
        "on the machine of the first process.",
    ]


def _facts(**facts: Any) -> list[str]:
    return [
        f"- {markdown_text(name.replace('_', ' '))}: {markdown_text(_text(value))}"
        for name, value in facts.items()
    ]


def _text(value: Any) -> str:
    if value is None:
        return _NA
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)


def _scores(rows: list[dict[str, Any]]) -> str:
    """Return a table of mean ± std over scans; "–" marks scores that do not apply."""
    table_rows = [
        {
            "scans": row["scans"],
            "structure": row["structure"],
            **{
                title: plus_minus(_number(row[f"{m}_mean"]), _number(row[f"{m}_std"]), digits)
                for m, title, digits in _COLUMNS
            },
            "missed": f"{row['misses']}/{row['present']}",
            "invented": f"{row['inventions']}/{row['absent']}",
        }
        for row in rows
    ]
    return _frame(table_rows, "Not scored.")


def _frame(rows: list[dict[str, Any]], empty: str) -> str:
    return markdown(pd.DataFrame(rows)) if rows else f"{empty}\n"


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _indented(text: str) -> list[str]:
    """Return the text as an indented code block, which no line of the text can close."""
    return [f"    {line}" for line in text.splitlines()]


def _unit(value: Any, unit: str) -> str:
    return f"{value} {unit}" if isinstance(value, int | float) else _NA


def _percent(share: Any) -> str:
    is_number = isinstance(share, int | float)
    return f"{100 * share:.1f} % of the time of a step" if is_number else _NA


def _energy(joules: float) -> str:
    return f"{joules / 3600:.2f} Wh"


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return _NA
    hours, remainder = divmod(round(seconds), 3600)
    return (
        f"{hours} h {remainder // 60} min {remainder % 60} s"
        if hours
        else f"{remainder // 60} min {remainder % 60} s"
    )
