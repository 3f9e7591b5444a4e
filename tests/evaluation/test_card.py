"""Run cards: facts from the run folder, limits of use, and what older runs lack."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
import yaml

from neoseg.evaluation.budget import budget_note, label_budget, protocol_counts
from neoseg.evaluation.card import CardError, run_card, write_card
from neoseg.evaluation.scores import ClassScore
from neoseg.evaluation.table import score_frame, write_scores

SCORE = ClassScore("Grey", "GM", True, 0.9, 1, 2, 0.5, 10, 11, False, False, 0.9, 4)
CONFIG = {
    "name": "iuc",
    "seed": 3,
    "labels": {"name": "drawem9"},
    "cohort": {"name": "phantom", "_target_": "neoseg.cohort.read_phantom", "modalities": ["T2w"]},
    "annotation": {"full_fraction": 0.05, "draw": 1},
    "network": {"name": "unet3d"},
    "loss": {"iuc": {"weight": 1}, "dice": {"weight": 1}},
    "head": "multilabel",
    "recipe": {"kind": "single"},
}
RECORD = {
    "seed": 3,
    "steps": 500,
    "seconds": 3725.0,
    "peak_memory_gib": 0.8,
    "peak_gpu_memory_gib": None,
    "energy_joules": {"processors": 7200.0, "gpus": None},
    "device": "CPU, 2 cores",
    "data": "0123456789abcdef",
    "annotation": {
        "merged_label_sets": ["{GM, WM}"],
        "skipped": [
            {"cohort": "phantom", "scan": "sub-z", "kind": "not-finite", "why": "z.nii.gz has NaN"}
        ],
    },
    "versions": {"python": "3.11", "torch": "2.13"},
    "git": {"commit": "abc", "changed": True},
    "command": "python -m neoseg.train",
}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    (folder / "run.json").write_text(json.dumps(RECORD))
    (folder / "annotation.csv").write_text(
        "subject,session,split,stream,protocol\n"
        "a,1,train,full,full\nb,1,train,partial,tcv\nb,2,train,partial,tcv\nc,1,test,full,full\n"
    )
    weak = dataclasses.replace(SCORE, abbreviation="WM", dice=0.5)
    missed = dataclasses.replace(weak, dice=0.0, missed=True)
    common = {"hidden": {"GM"}}
    frames = [
        score_frame(
            [SCORE, weak], subject="c", session="1", scan_age=33, age_group="preterm", **common
        ),
        score_frame(
            [SCORE, missed], subject="d", session="1", scan_age=40.5, age_group="term", **common
        ),
    ]
    write_scores(folder / "scores.csv", pd.concat(frames))
    return folder


def test_card_has_every_fact(run) -> None:
    card = run_card(run)
    assert card["run"] == "run"
    assert card["data"]["fingerprint"] == "0123456789abcdef"
    assert card["data"]["scans"] == [
        {"split": "train", "stream": "full", "protocol": "full", "scans": 1, "subjects": 1},
        {"split": "train", "stream": "partial", "protocol": "tcv", "scans": 2, "subjects": 1},
        {"split": "test", "stream": "full", "protocol": "full", "scans": 1, "subjects": 1},
    ]
    assert card["training"]["loss"] == ["iuc", "dice"]
    assert card["cost"]["energy_joules"] == {"processors": 7200.0, "gpus": "n/a"}
    assert card["cost"]["peak_gpu_memory_gib"] == "n/a"
    assert card["config"] == CONFIG
    rows = {(row["scans"], row["structure"]): row for row in card["scores"]}
    assert set(rows) == {(g, s) for g in ("all", "preterm", "term") for s in ("GM", "WM")}
    assert rows["all", "WM"]["dice_mean"] == pytest.approx(0.25)
    assert rows["all", "WM"]["misses"] == 1
    assert rows["term", "GM"]["dice_std"] is None


def test_limits_follow_from_what_was_tested(run) -> None:
    text = "\n".join(run_card(run)["limits"])
    for part in (
        "not a medical device",
        "synthetic",
        "2 scans of 2 subjects of 'phantom', 33.0 to 40.5 weeks at the scan (1 before 37 weeks)",
        "Fewer than ten test subjects",
        "hides: GM.",
        "WM (1 of 2)",
        "Mean Dice below 0.7: WM (0.25).",
        "its commit does not hold",
    ):
        assert part in text


def test_dhcp_labels_are_called_automatic(run) -> None:
    cohort = {"name": "dhcp", "_target_": "neoseg.cohort.read_dhcp"}
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"cohort": cohort}))
    text = "\n".join(run_card(run)["limits"])
    assert "DrawEM" in text
    assert "synthetic" not in text


def test_files_are_json_and_markdown(run) -> None:
    path = write_card(run)
    assert path == run / "card.md"
    card = json.loads((run / "card.json").read_text(encoding="utf-8"))
    assert card == run_card(run)
    text = path.read_text(encoding="utf-8")
    for part in ("# Run run", "- time: 1 h 2 min 5 s", "- energy: processors 2.00 Wh", "| test |"):
        assert part in text
    assert "| all | WM | 0.250 ± 0.354 |" in text
    assert "    seed: 3" in text


def test_older_and_unscored_runs_say_what_they_lack(run) -> None:
    for name in ("scores.csv", "annotation.csv"):
        (run / name).unlink()
    (run / "run.json").write_text("{}")
    card = run_card(run, "old run")
    assert (card["run"], card["data"]["fingerprint"]) == ("old run", "n/a")
    assert card["training"]["seed"] == 3
    assert card["limits"][-1] == "Not tested: the run was not scored."
    text = write_card(run).read_text(encoding="utf-8")
    assert "- energy: n/a" in text
    assert "Not scored." in text


def test_names_cannot_break_the_markdown(run) -> None:
    text = write_card(run, name="a | b\n# <script>").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# Run a \\| b # \\<script\\>"


def test_a_folder_without_a_run_is_named(tmp_path) -> None:
    with pytest.raises(CardError, match=r"run\.json"):
        run_card(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(CardError, match=r"config\.yaml"):
        run_card(tmp_path)


def test_no_plan_has_no_counts(tmp_path) -> None:
    assert protocol_counts(tmp_path / "annotation.csv") == []
    assert label_budget(tmp_path / "annotation.csv") == {}


def test_the_label_budget_has_the_validation_in_it(run) -> None:
    with (run / "annotation.csv").open("a") as file:
        file.write("e,1,train,unlabelled,none\nf,1,val,full,full\nf,2,val,unlabelled,none\n")
    budget = {"train_full": 1, "train_partial": 2, "train_unlabelled": 1, "validation": 1}
    assert run_card(run)["data"]["label_budget"] == budget
    text = write_card(run).read_text(encoding="utf-8")
    assert "train full 1, train partial 2, train unlabelled 1, validation 1" in text
    assert "- labels of the validation: full 1, unlabelled 1" in text


def test_several_cohorts_are_named_and_counted_apart(run) -> None:
    extra = {"fetal": {"cohort": {"_target_": "neoseg.cohort.read_bids"}}, "bare": {"cohort": {}}}
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"extra_cohorts": extra}))
    (run / "annotation.csv").write_text(
        "cohort,subject,session,split,stream,protocol\n"
        "phantom,a,1,train,full,full\nfetal,a,1,train,full,full\nfetal,a,2,train,full,full\n"
    )
    frames = [
        score_frame(
            [SCORE], subject="c", session="1", scan_age=33, age_group="preterm", cohort=cohort
        )
        for cohort in ("phantom", "fetal")
    ]
    write_scores(run / "scores.csv", pd.concat(frames))
    for leaks, people in (("stop", "1 subject"), ("namesakes", "2 subjects")):
        config = CONFIG | {"extra_cohorts": extra, "leaks": leaks}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        assert f"Tested on 2 scans of {people} of 'phantom, fetal'" in " ".join(
            run_card(run)["limits"]
        )
    card = run_card(run)
    assert card["data"]["cohort"] == ["phantom", "bare", "fetal"]
    assert [(row["cohort"], row["scans"], row["subjects"]) for row in card["data"]["scans"]] == [
        ("phantom", 1, 1),
        ("fetal", 2, 1),
    ]
    limits = "\n".join(card["limits"])
    assert "Tested on 2 scans of 2 subjects of 'phantom, fetal'" in limits
    assert "synthetic" not in limits


def test_waiting_for_data_is_stated(run) -> None:
    assert "- waiting for data: n/a" in write_card(run).read_text(encoding="utf-8")
    record = RECORD | {"data_wait_share": 0.0123, "step_seconds": 0.5}
    (run / "run.json").write_text(json.dumps(record))
    assert run_card(run)["cost"]["data_wait_share"] == 0.0123
    text = write_card(run).read_text(encoding="utf-8")
    assert "- waiting for data: 1.2 % of the time of a step" in text
    assert "- time of a training step: 0.5 s" in text


def test_skipped_scans_stand_in_the_card_with_reasons(run):
    card = run_card(run)
    assert [row["scan"] for row in card["data"]["skipped"]] == ["sub-z"]
    assert "1 scan could not be used and took no part." in card["limits"]
    text = write_card(run).read_text()
    assert "sub-z" in text
    assert "z.nii.gz has NaN" in text


def test_full_labels_of_the_validation_count_where_the_training_has_few() -> None:
    def row(split: str, stream: str, subjects: int) -> dict[str, object]:
        return {"split": split, "stream": stream, "protocol": "p", "scans": 9, "subjects": subjects}

    counts = [row("train", "full", 1), row("train", "partial", 18), row("val", "full", 2)]
    assert budget_note(counts) == [
        "Full labels of 3 subjects were used: 1 for training, 2 for validation."
    ]
    assert budget_note([counts[0], counts[2]]) == []
    assert budget_note([*counts[:2], row("val", "partial", 2)]) == []


def test_changes_on_the_way_are_told(run) -> None:
    assert "changed_on_the_way" not in run_card(run)["training"]
    changes = ["the files of 1 of 3 scans are other ones: phantom/sub-a"]
    (run / "run.json").write_text(json.dumps(RECORD | {"changes": changes}))
    assert run_card(run)["training"]["changed_on_the_way"] == changes
    assert run_card(run, privacy="subjects")["training"]["changed_on_the_way"] == "1 change"
