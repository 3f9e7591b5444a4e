"""The card of a run: what it learnt from, how, at what cost, what it reaches and where it ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from neoseg.cohort.scan import TERM_AGE
from neoseg.errors import NeosegError
from neoseg.evaluation.budget import (
    budget_note,
    full_subjects,
    label_budget,
    protocol_counts,
    share_of_full,
)
from neoseg.evaluation.card_text import card_markdown
from neoseg.evaluation.table import SCAN, of_age, read_scores, summarise
from neoseg.files import write_json, write_text
from neoseg.findings.privacy import Privacy, shared
from neoseg.foreign import ForeignError, read_config, read_json, value_at

CARD = "card"
"""Name of the two files in a run folder, `card.json` and `card.md`."""

NA = "n/a"
_SCORES = ("dice", "nsd", "hd95", "hd", "volume_error", "violation", "ece")
_WEAK = 0.7


class CardError(NeosegError):
    """A folder from which no card can be made."""


def run_card(run: Path, name: str | None = None, privacy: Privacy = "none") -> dict[str, Any]:
    """Return the card of a finished run as plain containers, from the files in its folder alone.

    What the files do not tell, as in runs of earlier versions, is "n/a".

    Args:
        run: the run folder.
        name: how the run is called; None is the name of its folder.
        privacy: what is left out beside what the run's own configuration says.

    Raises:
        CardError: a folder without a readable `config.yaml` and `run.json`.
    """
    try:
        record = read_json(run / "run.json", within=run)
        config = read_config(run / "config.yaml")
    except ForeignError as error:
        raise CardError(
            f"{run} has no run.json and config.yaml that can be read: {error}"
        ) from None
    scores = read_scores(run / "scores.csv") if (run / "scores.csv").is_file() else None
    annotation = _of(record, "annotation", {})
    counts = protocol_counts(run / "annotation.csv")
    share = share_of_full(run, config)
    partial = any(row["split"] == "train" and row["stream"] != "full" for row in counts)
    card = {
        "run": name or run.resolve().name,
        "experiment": _of(config, "name"),
        "data": {
            "cohort": _cohorts(config),
            "modalities": _of(config, "cohort.modalities"),
            "fingerprint": _of(record, "data"),
            "labels": _of(config, "labels.name"),
            "full_fraction": NA if share is None else share,
            "draw": _of(config, "annotation.draw"),
            "label_budget": label_budget(run / "annotation.csv") or NA,
            "scans": counts,
            "full_subjects": full_subjects(counts),
            "validation": _of(config, "annotation.validation"),
            "merged_label_sets": _of(annotation, "merged_label_sets", []),
            "skipped": _of(annotation, "skipped", []),
        },
        "training": {
            "seed": _of(record, "seed", _of(config, "seed")),
            "steps": _of(record, "steps"),
            "network": _of(config, "network.name"),
            "parameters": _of(record, "parameters"),
            **(
                {
                    "started_from": _of(record, "init.from"),
                    "fingerprint_of_its_weights": _of(record, "init.fingerprint"),
                }
                if _of(record, "init", None)
                else {}
            ),
            "head": _of(config, "head"),
            "loss": list(_of(config, "loss", {})),
            "recipe": _of(config, "recipe.kind"),
            **({"changed_on_the_way": changes} if (changes := _of(record, "changes", [])) else {}),
            "predicts": _of(record, "predict_with"),
        },
        "cost": {
            "device": _of(record, "device"),
            "seconds": _of(record, "seconds"),
            "step_seconds": _of(record, "step_seconds"),
            "data_wait_share": _of(record, "data_wait_share"),
            "peak_memory_gib": _of(record, "peak_memory_gib"),
            "peak_gpu_memory_gib": _of(record, "peak_gpu_memory_gib"),
            "energy_joules": {
                kind: _of(record, f"energy_joules.{kind}") for kind in ("processors", "gpus")
            },
        },
        "software": {
            "versions": _of(record, "versions", {}),
            "git": _of(record, "git"),
            "command": _of(record, "command"),
        },
        "scores": [] if scores is None else _score_rows(scores),
        "limits": [*limits_of_use(config, record, scores, partial), *budget_note(counts)],
        "config": config,
    }
    levels = get_args(Privacy)
    said = _of(config, "privacy", "none")
    privacy = max(privacy, said if said in levels else levels[-1], key=levels.index)
    if privacy == "subjects":
        card["data"]["skipped"] = [
            {"cohort": row.get("cohort"), "kind": row.get("kind")}
            for row in card["data"]["skipped"]
        ]
        if "changed_on_the_way" in card["training"]:
            card["training"]["changed_on_the_way"] = _count(len(changes), "change")
    plain: dict[str, Any] = shared(_plain(card), privacy, [str(run), str(run.resolve())])
    return plain


def write_card(
    run: Path,
    folder: Path | None = None,
    name: str | None = None,
    privacy: Privacy = "none",
) -> Path:
    """Write `card.json` and `card.md` of a run into its folder or another; return the latter.

    Raises:
        CardError: as `run_card`.
    """
    card = run_card(run, name, privacy)
    target = folder or run
    how = {"indent": 1, "ensure_ascii": False, "allow_nan": False}
    write_json(target / f"{CARD}.json", card, **how)
    write_text(target / f"{CARD}.md", card_markdown(card))
    return target / f"{CARD}.md"


def limits_of_use(
    config: dict[str, Any], record: dict[str, Any], scores: pd.DataFrame | None, partial: bool
) -> list[str]:
    """Return sentences about where the network has not been shown to work.

    `partial` says whether some training scans are not annotated in full.
    """
    cohorts = _cohorts(config)
    named = cohorts if isinstance(cohorts, list) else [cohorts]
    found = ["Research software, not a medical device: not for diagnosis or treatment."]
    extras = _of(config, "extra_cohorts", {}).values()
    targets = [_of(config, "cohort._target_"), *(_of(e, "cohort._target_") for e in extras)]
    if all("phantom" in str(target) for target in targets):
        found.append("Trained and tested on synthetic scans: it says nothing about real ones.")
    if any(str(target).endswith("read_dhcp") for target in targets) or "dhcp" in named:
        found.append(
            "The dHCP's labels are automatic (DrawEM): scores measure agreement with DrawEM."
        )
    if scores is None or scores.empty:
        return [*found, "Not tested: the run was not scored."]
    scans = scores.drop_duplicates(list(SCAN))
    subjects = len(scans.drop_duplicates(list(SCAN[:2])))
    tested = [str(n) for n in named if len(named) == 1 or n in set(scans["cohort"])]
    text = f"Tested on {_count(len(scans), 'scan')} of {_count(subjects, 'subject')}"
    text += f" of '{', '.join(tested)}'"
    ages = scans["scan_age"].dropna()
    if len(ages):
        text += f", {ages.min():.1f} to {ages.max():.1f} weeks at the scan"
        text += f" ({int((ages < TERM_AGE).sum())} before {TERM_AGE:.0f} weeks)"
    found.append(text + "; nothing is known about other ages, scanners or diseases.")
    if subjects < 10:
        found.append("Fewer than ten test subjects: means are uncertain.")
    hidden = list(dict.fromkeys(scores.loc[scores["hidden"], "abbreviation"]))
    if hidden and partial:
        found.append(f"The annotation of some training scans hides: {', '.join(hidden)}.")
    missed = scores[scores["missed"]].groupby("abbreviation", sort=False).size()
    if len(missed):
        listed = ", ".join(f"{name} ({count} of {len(scans)})" for name, count in missed.items())
        found.append(f"Not found at all in some test scans that have them: {listed}.")
    means = scores.groupby("abbreviation", sort=False)["dice"].mean()
    weak = means[means < _WEAK]
    if len(weak):
        listed = ", ".join(f"{name} ({value:.2f})" for name, value in weak.items())
        found.append(f"Mean Dice below {_WEAK}: {listed}.")
    skipped = {(row["cohort"], row["scan"]) for row in _of(record, "annotation.skipped", [])}
    if skipped:
        found.append(f"{_count(len(skipped), 'scan')} could not be used and took no part.")
    if _of(record, "git.changed", False) is True:
        found.append("The code had changes that its commit does not hold.")
    return found


def _score_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for group in ("all", "preterm", "term"):
        part = of_age(scores, group)
        for row in summarise(part).to_dict("records") if len(part) else []:
            row = {str(key): value for key, value in row.items()}
            values = {f"{m}_{how}": row[f"{m}_{how}"] for m in _SCORES for how in ("mean", "std")}
            rows.append(
                {"scans": group, "structure": row["abbreviation"], "n": row["dice_n"]}
                | values
                | {"misses": row["misses"], "inventions": row["inventions"]}
            )
    return rows


def _cohorts(config: dict[str, Any]) -> Any:
    """Return the name of the cohort, or a list of names where there are several."""
    extras = sorted(_of(config, "extra_cohorts", {}))
    return [_of(config, "cohort.name"), *extras] if extras else _of(config, "cohort.name")


def _of(source: Any, key: str, default: Any = NA) -> Any:
    return value_at(source, key, default)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _plain(value: Any) -> Any:
    """Return what JSON can hold: no NaN, no number types of NumPy."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
