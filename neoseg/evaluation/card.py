"""Build the run card: data, training, cost, scores and limits of a finished run."""

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
    validation_labels,
)
from neoseg.evaluation.card_text import card_markdown
from neoseg.evaluation.people import people_of
from neoseg.evaluation.table import AGE_GROUPS, SCAN, of_age, read_scores, summarise
from neoseg.files import write_json, write_text
from neoseg.findings.privacy import Privacy, shared
from neoseg.foreign import ForeignError, read_config, read_json, value_at

CARD = "card"
"""Stem of the two files in a run folder, `card.json` and `card.md`."""

NA = "n/a"
_SCORES = ("dice", "nsd", "hd95", "hd", "volume_error", "violation", "ece")
_WEAK = 0.7


class CardError(NeosegError):
    """Raised if no card can be made from a folder."""


def run_card(run: Path, name: str | None = None, privacy: Privacy = "none") -> dict[str, Any]:
    """Return the card of a finished run as plain containers, from the files in its folder alone.

    Facts that the files lack, as in runs of earlier versions, are "n/a".

    Args:
        run: the run folder.
        name: name of the run on the card; None uses the folder's name.
        privacy: what to leave out; the stricter of this and the run's configuration applies.

    Raises:
        CardError: if `config.yaml` or `run.json` is missing or unreadable.
    """
    try:
        record = read_json(run / "run.json", within=run)
        config = read_config(run / "config.yaml")
    except ForeignError as error:
        raise CardError(
            f"{run} has no run.json and config.yaml that can be read: {error}"
        ) from None
    scores = read_scores(run / "scores.csv") if (run / "scores.csv").is_file() else None
    counts = protocol_counts(run / "annotation.csv")
    partial = any(row["split"] == "train" and row["stream"] != "full" for row in counts)
    card: dict[str, Any] = {
        "run": name or run.resolve().name,
        "experiment": _get(config, "name"),
        "data": _data(run, config, record, counts),
        "training": _training(config, record),
        "cost": _cost(record),
        "software": {
            "versions": _get(record, "versions", {}),
            "git": _get(record, "git"),
            "command": _get(record, "command"),
        },
        "scores": [] if scores is None else _score_rows(scores),
        "limits": [*limits_of_use(config, record, scores, partial), *budget_note(counts)],
        "config": config,
    }
    levels = get_args(Privacy)
    configured = _get(config, "privacy", "none")
    privacy = max(privacy, configured if configured in levels else levels[-1], key=levels.index)
    if privacy == "subjects":
        _hide_subjects(card)
    plain: dict[str, Any] = shared(_plain(card), privacy, [str(run), str(run.resolve())])
    return plain


def _data(
    run: Path, config: dict[str, Any], record: dict[str, Any], counts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the run was trained on, with the scans of each protocol in `counts`."""
    share = share_of_full(run, config)
    return {
        "cohort": _cohorts(config),
        "modalities": _get(config, "cohort.modalities"),
        "fingerprint": _get(record, "data"),
        "labels": _get(config, "labels.name"),
        "full_fraction": NA if share is None else share,
        "draw": _get(config, "annotation.draw"),
        "label_budget": label_budget(run / "annotation.csv") or NA,
        "scans": counts,
        "full_subjects": full_subjects(counts),
        "validation": validation_labels(counts) or NA,
        "merged_label_sets": _get(record, "annotation.merged_label_sets", []),
        "skipped": _get(record, "annotation.skipped", []),
    }


def _training(config: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return how the run was trained, from other weights or changed on the way if it was."""
    origin, changes = {}, _get(record, "changes", [])
    if _get(record, "init", None):
        origin["started_from"] = _get(record, "init.from")
        origin["fingerprint_of_its_weights"] = _get(record, "init.fingerprint")
    return {
        "seed": _get(record, "seed", _get(config, "seed")),
        "steps": _get(record, "steps"),
        "network": _get(config, "network.name"),
        "parameters": _get(record, "parameters"),
        **origin,
        "head": _get(config, "head"),
        "loss": list(_get(config, "loss", {})),
        "recipe": _get(config, "recipe.kind"),
        **({"changed_on_the_way": changes} if changes else {}),
        "predicts": _get(record, "predict_with"),
    }


def _cost(record: dict[str, Any]) -> dict[str, Any]:
    """Return device, time, memory and energy of the run."""
    times = ("seconds", "step_seconds", "data_wait_share")
    keys = ("device", *times, "peak_memory_gib", "peak_gpu_memory_gib")
    energy = {kind: _get(record, f"energy_joules.{kind}") for kind in ("processors", "gpus")}
    return {key: _get(record, key) for key in keys} | {"energy_joules": energy}


def _hide_subjects(card: dict[str, Any]) -> None:
    """Reduce skipped scans to their kinds and changes to their number, in place."""
    data, training = card["data"], card["training"]
    data["skipped"] = [{k: row.get(k) for k in ("cohort", "kind")} for row in data["skipped"]]
    if "changed_on_the_way" in training:
        training["changed_on_the_way"] = _count(len(training["changed_on_the_way"]), "change")


def write_card(
    run: Path,
    folder: Path | None = None,
    name: str | None = None,
    privacy: Privacy = "none",
) -> Path:
    """Write `card.json` and `card.md` into `folder` (default: `run`); return the path of `card.md`.

    Raises:
        CardError: see `run_card`.
    """
    card = run_card(run, name, privacy)
    target = folder or run
    options = {"indent": 1, "ensure_ascii": False, "allow_nan": False}
    write_json(target / f"{CARD}.json", card, **options)
    write_text(target / f"{CARD}.md", card_markdown(card))
    return target / f"{CARD}.md"


def limits_of_use(
    config: dict[str, Any], record: dict[str, Any], scores: pd.DataFrame | None, partial: bool
) -> list[str]:
    """Return sentences about the data on which the network is untested or weak.

    `partial` says whether some training scans are not fully annotated.
    """
    cohorts = _cohorts(config)
    names = cohorts if isinstance(cohorts, list) else [cohorts]
    limits = ["Research software, not a medical device: not for diagnosis or treatment."]
    extras = _get(config, "extra_cohorts", {}).values()
    targets = [_get(config, "cohort._target_"), *(_get(e, "cohort._target_") for e in extras)]
    if all("phantom" in str(target) for target in targets):
        limits.append("Trained and tested on synthetic scans: it says nothing about real ones.")
    if any(str(target).endswith("read_dhcp") for target in targets) or "dhcp" in names:
        limits.append(
            "The dHCP's labels are automatic (DrawEM): scores measure agreement with DrawEM."
        )
    if scores is None or scores.empty:
        return [*limits, "Not tested: the run was not scored."]
    scans = scores.drop_duplicates(list(SCAN))
    subjects = people_of(scans, config).nunique()
    tested = [str(n) for n in names if len(names) == 1 or n in set(scans["cohort"])]
    text = f"Tested on {_count(len(scans), 'scan')} of {_count(subjects, 'subject')}"
    text += f" of '{', '.join(tested)}'"
    ages = scans["scan_age"].dropna()
    if len(ages):
        text += f", {ages.min():.1f} to {ages.max():.1f} weeks at the scan"
        text += f" ({int((ages < TERM_AGE).sum())} before {TERM_AGE:.0f} weeks)"
    limits.append(text + "; nothing is known about other ages, scanners or diseases.")
    if subjects < 10:
        limits.append("Fewer than ten test subjects: means are uncertain.")
    hidden = list(dict.fromkeys(scores.loc[scores["hidden"], "abbreviation"]))
    if hidden and partial:
        limits.append(f"The annotation of some training scans hides: {', '.join(hidden)}.")
    summary = summarise(scores).set_index("abbreviation")
    missed = summary[summary["misses"] > 0]
    if len(missed):
        rows = missed[["misses", "present"]].itertuples()
        listed = ", ".join(f"{name} ({count} of {present})" for name, count, present in rows)
        limits.append(f"Not found at all in some test scans that have them: {listed}.")
    weak = summary.loc[summary["dice_mean"] < _WEAK, "dice_mean"]
    if len(weak):
        listed = ", ".join(f"{name} ({value:.2f})" for name, value in weak.items())
        limits.append(f"Mean Dice below {_WEAK}: {listed}.")
    skipped = {(row["cohort"], row["scan"]) for row in _get(record, "annotation.skipped", [])}
    if skipped:
        limits.append(f"{_count(len(skipped), 'scan')} could not be used and took no part.")
    if _get(record, "git.changed", False) is True:
        limits.append("The code had changes that its commit does not hold.")
    return limits


def _score_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for group in AGE_GROUPS:
        part = of_age(scores, group)
        for row in summarise(part).to_dict("records") if len(part) else []:
            row = {str(key): value for key, value in row.items()}
            values = {f"{m}_{how}": row[f"{m}_{how}"] for m in _SCORES for how in ("mean", "std")}
            rows.append(
                {"scans": group, "structure": row["abbreviation"], "n": row["dice_n"]}
                | values
                | {key: row[key] for key in ("misses", "present", "inventions", "absent")}
            )
    return rows


def _cohorts(config: dict[str, Any]) -> Any:
    """Return the name of the cohort, or a list of names if there are several."""
    extras = sorted(_get(config, "extra_cohorts", {}))
    return [_get(config, "cohort.name"), *extras] if extras else _get(config, "cohort.name")


def _get(source: Any, key: str, default: Any = NA) -> Any:
    return value_at(source, key, default)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _plain(value: Any) -> Any:
    """Convert to types that JSON has: NumPy scalars become numbers, NaN and infinity None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
