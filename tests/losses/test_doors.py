"""Terms from outside: of a script, of an installed package, by a dotted path."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from cases import make_case

from neoseg.losses import LossError, LossTerm, Objective, register_loss
from neoseg.losses import registry as module
from neoseg.losses.build import describe, make_term
from neoseg.losses.registry import find_term, names, terms_for

TERM = '''
from typing import Annotated
from pydantic import Field
from neoseg.losses import DenseTerm

class {name}(DenseTerm):
    """Mean of the squared logits."""

    heads = frozenset({{"multilabel"}})

    def __init__(
        self, codebook, *, scale: Annotated[float, Field(gt=0, description="of it")] = 1.0
    ):
        super().__init__(codebook)
        self.scale = scale

    def compute(self, prediction, codes):
        return self.scale * prediction.logits.square().mean()
'''


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    monkeypatch.setattr(module, "_registered", {})
    module._declared.cache_clear()
    yield
    module._declared.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in {"losslab", "other"}]:
        del sys.modules[name]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with a module `losses` and entry points where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str, entries: dict[str, str], package: str = "losslab") -> Path:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "losses.py").write_text(source)
        info = tmp_path / f"{package}_tools-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}-tools\nVersion: 1")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[neoseg.losses]", *lines]))
        return tmp_path

    return write


def cell(module: str = "cell", source: str = TERM.format(name="Mine")) -> type[LossTerm]:
    """Define the term as the cell of a notebook does."""
    space: dict = {"__name__": module}
    exec(source, space)
    return space["Mine"]


def value(config, **options):
    case = make_case("paper", seed=1)
    return Objective(config, case.codebook, "multilabel", **options)(case.logits, case.codes)


def squared() -> float:
    return make_case("paper", seed=1).logits.square().mean().item()


class TestScript:
    def test_a_class_of_a_notebook_is_known_by_the_name_that_it_is_given(self):
        mine = cell("no_such_module")
        assert register_loss("mine")(mine) is mine
        assert find_term("mine") is mine
        assert "mine" in names()
        assert "mine" in terms_for("multilabel")
        assert "mine" not in terms_for("softmax")
        assert value({"mine": {"scale": 2.0}}).item() == pytest.approx(2 * squared())

    def test_without_a_name_it_is_that_of_the_file(self, install):
        source = TERM.format(name="Mine").replace(
            "class", "from neoseg.losses import register_loss\n@register_loss\nclass"
        )
        install(source, {})
        __import__("losslab.losses")
        assert find_term("losses").__name__ == "Mine"

    def test_a_cell_that_runs_again_replaces_its_term(self):
        for _ in range(2):
            mine = cell("cell")
            register_loss("mine")(mine)
        assert find_term("mine") is mine

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("iuc", r"'iuc' of cell:Mine is that of neoseg\.losses\.iuc already"),
            ("two words", "letters, digits and underscores"),
        ],
    )
    def test_a_name_that_does_not_do_is_refused(self, name, message):
        mine = cell("cell")
        with pytest.raises(LossError, match=message):
            register_loss(name)(mine)

    def test_two_terms_of_one_name_are_refused(self):
        register_loss("mine")(cell("first"))
        with pytest.raises(LossError, match="'mine' of second:Mine is that of first:Mine already"):
            register_loss("mine")(cell("second"))

    @pytest.mark.parametrize("term", [dict, LossTerm, len])
    def test_what_is_no_term_is_refused(self, term):
        with pytest.raises(LossError, match="expected a class that derives from"):
            register_loss("mine")(term)

    def test_a_term_without_heads_is_refused(self):
        class Mine(find_term("iuc")):
            heads = "multilabel"

        with pytest.raises(LossError, match="heads is 'multilabel', expected a frozenset"):
            register_loss("mine")(Mine)

    def test_without_a_file_a_name_is_needed(self):
        mine = cell("no_such_module")
        with pytest.raises(LossError, match="stands in no file; name it"):
            register_loss(mine)


class TestPackage:
    def test_a_declared_term_is_loaded_when_it_is_asked_for(self, install):
        install(TERM.format(name="Mine"), {"mine": "losslab.losses:Mine"})
        assert "mine" in names()
        find_term("iuc")
        assert "losslab" not in sys.modules
        assert value({"mine": {}}).item() == pytest.approx(squared())
        assert "mine" in terms_for("multilabel")
        assert describe("mine")[0].settings == {"weight": 1.0, "ramp": None, "scale": 1.0}

    def test_a_misspelt_name_or_setting_gets_the_nearest(self, install):
        install(TERM.format(name="Mine"), {"mine": "losslab.losses:Mine"})
        with pytest.raises(LossError, match="did you mean 'mine'"):
            value({"mime": {}})
        with pytest.raises(LossError, match="did you mean 'scale'"):
            value({"mine": {"scael": 2.0}})
        with pytest.raises(LossError, match=r"loss\.mine\.scale is 0"):
            value({"mine": {"scale": 0}})

    def test_the_name_of_a_built_in_is_an_error_that_names_both(self, install):
        install(TERM.format(name="Mine"), {"iuc": "losslab.losses:Mine"})
        find_term("bce")
        match = r"by neoseg\.losses\.iuc and by losslab\.losses:Mine of the package 'losslab-tools'"
        with pytest.raises(LossError, match=match):
            find_term("iuc")

    def test_two_packages_with_one_name_are_an_error_that_names_both(self, install):
        install(TERM.format(name="Mine"), {"mine": "losslab.losses:Mine"})
        install(TERM.format(name="Mine"), {"mine": "other.losses:Mine"}, "other")
        with pytest.raises(
            LossError, match=r"'losslab-tools' and by .*'other-tools'|'other-tools' and"
        ):
            find_term("mine")

    def test_a_package_may_declare_and_register_its_term(self, install):
        source = TERM.format(name="Mine").replace(
            "class", "from neoseg.losses import register_loss\n@register_loss('mine')\nclass"
        )
        install(source, {"mine": "losslab.losses:Mine"})
        assert find_term("mine") is find_term("mine")

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere"),
            ("1 / 0", "ZeroDivisionError"),
            ("", "AttributeError"),
        ],
    )
    def test_one_that_cannot_be_imported_names_the_package_and_the_reason(
        self, install, source, reason
    ):
        install(source, {"mine": "losslab.losses:Mine"})
        with pytest.raises(
            LossError, match=f"package 'losslab-tools'.* cannot be imported: {reason}"
        ):
            find_term("mine")
        assert "iuc" in terms_for("multilabel")

    def test_the_list_shows_it_and_what_is_wrong_with_another(self, install, monkeypatch, capsys):
        install(
            TERM.format(name="Mine"),
            {"mine": "losslab.losses:Mine", "broken": "losslab.losses:Nothing"},
        )
        monkeypatch.setattr("sys.argv", ["losses", "--settings"])
        runpy.run_module("neoseg.losses", run_name="__main__")
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith("mine ") and "squared logits" in line for line in lines)
        assert any("loss.mine.scale=1.0  # of it" in line for line in lines)
        assert any(line.startswith("broken ") and "cannot be imported" in line for line in lines)


class TestPath:
    CONFIG: ClassVar[dict] = {
        "own": {"_target_": "losslab.losses.Mine", "weight": 3.0, "scale": 2.0}
    }

    def test_a_class_of_an_allowed_package(self, install):
        install(TERM.format(name="Mine"), {})
        assert value(self.CONFIG, allow=("losslab",)).item() == pytest.approx(6 * squared())
        assert describe("losslab.losses.Mine", allow=["losslab"])[0].settings == {
            "weight": 1.0,
            "ramp": None,
            "scale": 1.0,
        }

    def test_other_packages_are_not_imported(self, install):
        install(TERM.format(name="Mine"), {})
        for allow in ((), ("my",), ("other",), ("losslab.nets",)):
            with pytest.raises(LossError, match=r"add allow=\[losslab\] to the command line"):
                value(self.CONFIG, allow=allow)
        assert "losslab" not in sys.modules

    def test_a_path_does_not_leave_its_package_by_what_that_imports(self, install):
        install("from other.losses import Mine", {})
        install(TERM.format(name="Mine"), {}, "other")
        with pytest.raises(LossError, match=r"add allow=\[other\]"):
            value(self.CONFIG, allow=("losslab",))

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("Mine = print", "expected a class that derives from"),
            ("", "cannot be imported: AttributeError"),
        ],
    )
    def test_what_is_no_term_is_refused(self, install, source, message):
        install(source, {})
        with pytest.raises(LossError, match=message):
            value(self.CONFIG, allow=("losslab",))

    def test_a_class_that_does_not_take_the_codebook_is_told_what_it_lacks(self, install):
        install(TERM.format(name="Mine").replace("__init__(codebook)", "__init__()"), {})
        with pytest.raises(LossError, match=r"Mine cannot be made: .*def __init__\(self, codebook"):
            value(self.CONFIG, allow=("losslab",))

    def test_a_built_in_needs_no_permission(self):
        assert find_term("neoseg.losses.iuc.IUC") is find_term("iuc")

    def test_term_and_target_together_are_refused(self):
        with pytest.raises(LossError, match="both `term` and `_target_`"):
            value({"own": {"term": "iuc", "_target_": "neoseg.losses.iuc.IUC"}})

    def test_the_list_takes_a_path(self, install, monkeypatch, capsys):
        install(TERM.format(name="Mine"), {})
        monkeypatch.setattr("sys.argv", ["losses", "losslab.losses.Mine"])
        runpy.run_module("neoseg.losses", run_name="__main__")
        assert "squared logits" in capsys.readouterr().out


def test_a_setting_without_a_default_is_asked_for():
    register_loss("mine")(cell(source=TERM.format(name="Mine").replace(" = 1.0", "")))
    case = make_case("paper")
    with pytest.raises(LossError, match=r"loss\.mine\.scale is missing"):
        make_term("mine", case.codebook, "multilabel", {})


def test_a_file_with_two_terms_is_an_error_when_it_is_asked_for(tmp_path, monkeypatch):
    import neoseg.losses as package

    (tmp_path / "double.py").write_text(TERM.format(name="A") + TERM.format(name="B"))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(module, "BUILT_IN", (*module.BUILT_IN, "double"))
    assert find_term("iuc")
    with pytest.raises(LossError, match=r"neoseg\.losses\.double defines 2 loss terms"):
        find_term("double")
    sys.modules.pop("neoseg.losses.double")
