"""The page holds its data as data."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from PIL import Image
from sweep import dice_of, write_run, write_sweep

from neoseg.evaluation.report.compare import ReportSettings, compare
from neoseg.evaluation.report.page import embedded_json, write_page
from neoseg.evaluation.report.page_lists import (
    arm_entries,
    case_entries,
    comparison_entries,
    rounded,
    score_entries,
)
from neoseg.evaluation.report.write import write_report

HOSTILE = '</script><img src=x onerror="alert(1)">&<!--\u2028'


def embedded(html: str) -> dict:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    return json.loads(text)


@pytest.mark.parametrize("value", [HOSTILE, "<!--<script>", "]]>", "'\"", "é π 🧠"])
def test_nothing_in_the_data_can_end_its_element(value: str) -> None:
    text = embedded_json({"a": [value], value: 1})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": [value], value: 1}


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedded_json({"a": float("nan")})
    assert rounded(float("nan")) is None
    assert rounded(2.0) == 2
    assert rounded(0.12345678) == 0.123457


def test_page_allows_its_own_script_alone_and_no_connection(tmp_path) -> None:
    write_page(tmp_path / "a.html", HOSTILE, {"text": HOSTILE})
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert embedded(html) == {"text": HOSTILE}
    assert HOSTILE not in html
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    styles = re.findall(r"<style>(.*?)</style>", html, re.S)
    for content in (*scripts, *styles):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert (len(scripts), len(styles)) == (1, 1)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", html)
    assert "innerHTML" not in html


def test_page_holds_the_numbers_of_the_tables(tmp_path) -> None:
    comparison = compare(write_sweep(tmp_path / "runs"), ReportSettings())
    arms = arm_entries(comparison.frame)
    names = [arm["name"] for arm in arms]
    assert names == ["full, 100 %", "iuc, 5 %", "supervised, 5 %"]
    assert len({arm["hatch"] for arm in arms}) == 3
    scores = score_entries(comparison.summary, names)
    structures = [entry["abbreviation"] for entry in scores["classes"]]
    for row in comparison.summary.to_dict("records"):
        cell = scores["cells"][row["metric"]][row["age_group"]][
            structures.index(row["abbreviation"])
        ][names.index(row["arm"])]
        assert cell[0] == pytest.approx(row["mean"], abs=1e-6)
        assert cell[5:8] == [row["scans"], row["subjects"], row["draws"]]
    tests = comparison_entries(comparison.tests, names, structures)
    assert {row["metric"] for row in tests} == {"dice", "nsd", "hd95"}
    kept = comparison.tests["metric"].isin(["dice", "nsd", "hd95"])
    assert len(tests) == kept.sum()


def test_cases_share_scans_and_stay_below_the_limit(tmp_path) -> None:
    comparison = compare(write_sweep(tmp_path / "runs"), ReportSettings())
    names = [arm["name"] for arm in arm_entries(comparison.frame)]
    arguments = (comparison.cases, comparison.runs, names, 6)
    everything, left_out = case_entries(*arguments, 10**9)
    assert len(everything["cases"]) == 6
    assert len(everything["scans"]) < 6
    assert not left_out
    scan = everything["scans"][0]
    assert set(scan["arms"]) == {0, 1, 2}
    assert [plane["slices"] for plane in scan["planes"]] == [6, 6, 6]
    size = len(json.dumps(scan))
    some, left_out = case_entries(*arguments, size)
    assert len(some["scans"]) == 1
    assert len(some["cases"]) + len(left_out) == 6
    assert left_out
    none, left_out = case_entries(*arguments, 0)
    assert (none["cases"], len(left_out)) == ([], 6)


def test_runs_without_views_show_their_pictures(tmp_path) -> None:
    run = write_run(tmp_path / "runs" / "a", dice_of(0.6), views=False)
    (run / "pictures").mkdir()
    Image.new("L", (2, 2)).save(run / "pictures" / "sub-t2_ses-1.png")
    page = write_report(tmp_path / "runs", tmp_path / "out")
    data = embedded(page.read_text(encoding="utf-8"))
    assert [case["title"].split(":")[0] for case in data["cases"]] == ["worst case of iuc, 5 %"]
    assert data["scans"][0]["planes"] is None
    assert data["scans"][0]["arms"]["0"]["picture"].startswith("data:image/png;base64,")
    assert "Cases that the page does not hold: median case" in " ".join(data["notes"])
