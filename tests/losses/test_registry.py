from __future__ import annotations

import runpy

import pytest
from cases import make_case

from neoseg.losses.build import describe, make_term
from neoseg.losses.registry import LossError, find_term, names, terms_for


def test_first_terms_are_registered_under_their_file():
    for name in ("iuc", "huc", "weight", "wnorm", "bce", "dice", "dice_ce", "mean_teacher"):
        assert find_term(name).__module__ == f"neoseg.losses.{name}"


@pytest.mark.parametrize("name", names())
def test_every_term_says_what_it_is(name):
    entry = {d.name: d for d in describe()}[name]
    assert entry.summary.endswith(".")
    assert 20 < len(entry.summary) <= 100
    assert entry.heads
    assert set(entry.heads) <= {"multilabel", "softmax"}
    assert all(name in terms_for(head) for head in entry.heads)


def test_misspelt_term_gets_the_nearest():
    with pytest.raises(LossError, match="no loss term 'marginal-ce'; did you mean 'marginal_ce'"):
        find_term("marginal-ce")


def test_strange_term_gets_the_list():
    with pytest.raises(LossError, match="it can be bce, "):
        find_term("zzzzzz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alhpa": 2.0}, "no setting 'alhpa'; did you mean 'alpha'"),
        ({"alpha": 1.5}, r"loss\.leaf_dice\.alpha is 1\.5: .*1 or 2"),
        ({"alpha": float("nan")}, r"loss\.leaf_dice\.alpha is nan"),
        ({"alpha": "two"}, r"loss\.leaf_dice\.alpha is 'two': .*1 or 2"),
        ({"smooth": -1.0}, r"loss\.leaf_dice\.smooth is -1\.0: .*greater than 0"),
        ({"batch": "perhaps"}, r"loss\.leaf_dice\.batch is 'perhaps'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(LossError, match=message):
        make_term("leaf_dice", make_case("paper").codebook, "softmax", settings)


def test_wrong_head_names_the_terms_that_fit():
    with pytest.raises(
        LossError,
        match=r"'iuc' works with the head multilabel.*terms for 'softmax'"
        r": .*marginal_ce",
    ):
        make_term("iuc", make_case("paper").codebook, "softmax", {})


def test_the_list_has_a_line_for_each_term(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["losses"])
    runpy.run_module("neoseg.losses", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(names())
    (teacher,) = (line for line in lines if line.startswith("mean_teacher"))
    assert "[needs teacher]" in teacher
