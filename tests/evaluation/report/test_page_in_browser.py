"""The page in a real browser: what it shows, what clicking does, and that data stays data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser
from sweep import dice_of, write_run, write_sweep

from neoseg.evaluation.report.write import write_report

pytestmark = pytest.mark.slow

ATTACK = "<img src=x onerror=window.hit=1>"
BREAKOUT = "</script><script>window.hit=2</script>"
ATTRIBUTE = '" onmouseover="window.hit=3" x="'


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    return write_report(write_sweep(folder / "runs"), folder / "out")


@pytest.fixture
def shown(window: Browser, page: Path) -> Browser:
    window.open(page)
    return window


def column(window: Browser, table: str, number: int) -> list[str]:
    """The texts of a column of a table, from 0."""
    return window.script(
        "return [...document.querySelectorAll(arguments[0])].map(row => "
        "row.cells[arguments[1]].textContent)",
        f"{table} tbody tr",
        number,
    )


def heads(window: Browser, table: str) -> list[str]:
    return window.script(
        "return [...document.querySelectorAll(arguments[0])].map(node => node.textContent)",
        f"{table} thead th",
    )


def pixels(window: Browser, canvas: str) -> list[int]:
    """All values of a canvas once it has been painted."""
    return window.script(
        "const c = document.querySelector(arguments[0]);"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]",
        canvas,
    )


def painted(window: Browser, state: str) -> None:
    """Wait until every canvas shows the given layer and opacity."""
    window.wait(
        "const all = [...document.querySelectorAll('#planes canvas')];"
        f"return all.length > 0 && all.every(c => (c.dataset.painted || '').endsWith('{state}'))"
    )


def test_everything_is_there_without_an_error(shown: Browser) -> None:
    assert heads(shown, "#scores") == ["structure", "full, 100 %", "iuc, 5 %", "supervised, 5 %"]
    assert column(shown, "#scores", 2)[1] == "0.545 ± 0.010"
    counts = shown.script(
        "return ['#chart rect', '#tests tbody tr', '#runs tbody tr', '#cards details',"
        "'#figures img', '#planes canvas', '#unfinished li', '#notes li']"
        ".map(s => document.querySelectorAll(s).length)"
    )
    assert all(counts), counts
    assert counts[2:5] == [9, 9, 6]
    shown.wait(
        "return [...document.querySelectorAll('#figures img')].every(i => {"
        "i.loading = 'eager'; return i.complete && i.naturalWidth > 100})"
    )
    painted(shown, "prediction 0.5")
    assert "preterm scans 1, term scans 2, all scans 3" in shown.script(
        "return document.getElementById('warning').textContent"
    )
    assert shown.complaints() == []


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(shown: Browser) -> None:
    original = column(shown, "#scores", 0)
    shown.click("#scores th:nth-child(2) button")
    rising = [float(text.split(" ")[0]) for text in column(shown, "#scores", 1)]
    assert rising == sorted(rising)
    assert column(shown, "#scores", 0) != original
    shown.click("#scores th:nth-child(2) button")
    falling = [float(text.split(" ")[0]) for text in column(shown, "#scores", 1)]
    assert falling == rising[::-1]
    shown.click("#scores th:nth-child(1) button")
    names = column(shown, "#scores", 0)
    assert names == sorted(names, key=str.lower)
    direction = "return document.querySelector('#scores th').getAttribute('aria-sort')"
    assert shown.script(direction) == "ascending"


def test_the_arm_picker_decides_what_is_shown(shown: Browser) -> None:
    before = shown.script("return document.querySelectorAll('#chart rect').length")
    shown.click("#arms input[value='0']")
    assert heads(shown, "#scores") == ["structure", "iuc, 5 %", "supervised, 5 %"]
    assert set(column(shown, "#tests", 0)) == {"iuc, 5 %"}
    assert set(column(shown, "#runs", 0)) == {"iuc, 5 %", "supervised, 5 %"}
    assert shown.script("return document.querySelectorAll('#chart rect').length") < before
    canvases = "return [...document.querySelectorAll('#planes canvas')].map(c => c.dataset.arm)"
    assert shown.script(canvases) == ["truth", "1", "2"] * 3
    shown.click("#arms input[value='1']")
    shown.click("#arms input[value='2']")
    assert heads(shown, "#scores") == ["structure"]
    assert shown.script(canvases) == ["truth"] * 3
    shown.click("#arms input[value='0']")
    assert heads(shown, "#scores") == ["structure", "full, 100 %"]
    assert shown.complaints() == []


def test_score_and_age_can_be_chosen(shown: Browser) -> None:
    shown.choose("#metric", "hd95")
    shown.choose("#group", "preterm")
    # The preterm scan is the first: level 0.6 + 0.01 for supervised, 0.1 less in grey matter.
    assert column(shown, "#scores", 3)[1] == "4.90 ± 0.10"
    assert "HD95 (mm), preterm scans" in shown.script(
        "return document.getElementById('tests-note').textContent"
    )
    shown.choose("#metric", "assd")
    assert "tests.csv" in shown.script("return document.getElementById('tests-note').textContent")


def test_sliders_move_the_slices_of_their_plane(shown: Browser) -> None:
    painted(shown, "prediction 0.5")
    first, other = ("#planes canvas[data-axis='0']", "#planes canvas[data-axis='2']")
    before, still = pixels(shown, first), pixels(shown, other)
    shown.keys("#planes input[data-axis='0']", "\ue012" * 3)  # three times to the left
    shown.wait(f"return document.querySelector(\"{first}\").dataset.painted.startsWith('5 ')")
    assert pixels(shown, first) != before
    assert pixels(shown, other) == still
    assert shown.script("return document.querySelector('#planes output').textContent") == "6 of 16"


def test_layers_and_opacity(shown: Browser) -> None:
    painted(shown, "prediction 0.5")
    arm = "#planes canvas[data-arm='1'][data-axis='2']"
    half = pixels(shown, arm)
    shown.click("#viewer input[value='none']")
    painted(shown, "none 0.5")
    bare = pixels(shown, arm)
    assert bare[0::4] == bare[1::4] == bare[2::4]  # grey
    assert half != bare
    shown.click("#viewer input[value='wrong']")
    painted(shown, "wrong 0.5")
    wrong = pixels(shown, arm)
    assert wrong not in (half, bare)
    shown.keys("#opacity", "\ue011")  # Home: nothing of the layer
    painted(shown, "wrong 0")
    assert pixels(shown, arm) == bare
    truth = pixels(shown, "#planes canvas[data-arm='truth'][data-axis='2']")
    assert truth == bare


def test_cases_can_be_chosen(shown: Browser) -> None:
    painted(shown, "prediction 0.5")
    before = pixels(shown, "#planes canvas")
    shown.choose("#case", "5")
    painted(shown, "prediction 0.5")
    note = shown.script("return document.getElementById('case-note').textContent")
    assert "supervised, 5 %" in note
    assert pixels(shown, "#planes canvas") != before
    assert shown.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(shown: Browser, scheme: str) -> None:
    shown.emulate(scheme)
    colours = shown.script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    ink, paper = (
        sum(int(part) for part in text.split("(")[1].rstrip(")").split(",")[:3]) for text in colours
    )
    assert (ink < paper) == (scheme == "light")
    assert abs(ink - paper) > 500


def test_hostile_names_stay_text(window: Browser, tmp_path: Path) -> None:
    scans = {
        (f"p{ATTACK}", "1"): {"CSF": 0.3, "GM": 0.4, "WM": 0.5},
        ("t1", f"&amp;{ATTRIBUTE}"): {"CSF": 0.6, "GM": 0.5, "WM": 0.7},
    }
    write_run(tmp_path / "runs" / ATTACK, scans, name=f"<b>{BREAKOUT.replace('/', '')}")
    write_run(tmp_path / "runs" / "b'\"`${x}", dice_of(0.5), name=BREAKOUT, views=False)
    left_out = tmp_path / "runs" / f"{ATTRIBUTE}{ATTACK}"
    left_out.mkdir()
    (left_out / "config.yaml").write_text("name: x\n")
    page = write_report(tmp_path / "runs", tmp_path / "out")
    window.open(page)
    assert heads(window, "#scores")[1:] == [
        f"{BREAKOUT}, 5 %",
        f"<b>{BREAKOUT.replace('/', '')}, 5 %",
    ]
    assert ATTACK in column(window, "#runs", 9)
    assert any(
        ATTACK in text
        for text in window.script(
            "return [...document.querySelectorAll('#case option')].map(o => o.textContent)"
        )
    )
    assert ATTRIBUTE in window.script("return document.getElementById('unfinished').textContent")
    counts = window.script(
        "return [window.hit, document.querySelectorAll('img[src=x], [onmouseover], b').length,"
        "document.querySelectorAll('script').length]"
    )
    assert counts == [None, 0, 2]
    assert window.complaints() == []
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "<img" not in text.replace("\\<img", "")
    assert "<script" not in text.replace("\\<script", "")


def test_a_single_run_is_shown_without_comparisons(window: Browser, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", dice_of(0.5))
    window.open(write_report(tmp_path / "runs", tmp_path / "out"))
    note = window.script("return document.getElementById('tests-note').textContent")
    assert note == "One arm alone: there is nothing to compare."
    assert len(column(window, "#scores", 0)) > 3
    assert window.complaints() == []


def test_the_policy_stops_what_would_slip_through(shown: Browser) -> None:
    """Were markup ever to get into the page, neither it nor a connection would work."""
    shown.script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.hit=2';"
        "document.body.append(s);"
        "fetch('http://127.0.0.1:9/').catch(() => { window.refused = true; })"
    )
    shown.wait("return window.refused === true")
    assert shown.script("return window.hit === undefined")
    assert "Content Security Policy" in " ".join(entry["message"] for entry in shown.log())
