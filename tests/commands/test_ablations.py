"""Every ablation is a sweep whose jobs compose, each with a folder and an arm of its own."""

from __future__ import annotations

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from neoseg.configuration.config import CONFIG_DIR

ABLATIONS = sorted(path.stem for path in (CONFIG_DIR / "ablation").glob("*.yaml"))
REDUCED = sorted(path.stem for path in (CONFIG_DIR / "reduced").glob("*.yaml"))


def swept(name: str) -> dict[str, list[str]]:
    """Return the values of each key that an ablation sweeps, as Hydra reads them."""
    params = yaml.safe_load((CONFIG_DIR / "ablation" / f"{name}.yaml").read_text())["hydra"]
    parser = OverridesParser.create()
    found = {}
    for key, value in params["sweeper"]["params"].items():
        override = parser.parse_override(f"{key}={value}")
        values = override.sweep_string_iterator() if override.is_sweep_override() else [value]
        found[key] = [str(value) for value in values]
    return found


def test_the_promised_ablations_are_there() -> None:
    paper = {f"paper_{part}" for part in ("figure4", "upper_bound", "table1", "table2", "table3")}
    assert set(ABLATIONS) >= paper | {"beyond", "beyond_87", "beyond_missing", "semi_supervised"}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_arm_composes_under_a_name_of_its_own(name: str) -> None:
    found = swept(name)
    arms = found.pop("+experiment")
    rest = [f"{key}={values[-1]}" for key, values in found.items()]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        chosen = [f"+ablation={name}", "hydra.sweep.dir=runs", *rest]
        configs = [compose("train", [*chosen, f"+experiment={arm}"]) for arm in arms]
    assert [config.name for config in configs] == arms
    for config in configs:
        assert config.sweep in (name, "paper", "paper_segformer")
        assert config.seed == config.annotation.draw == int(found["annotation.draw"][-1])
    if "annotation.full_fraction" in found:
        share = float(found["annotation.full_fraction"][-1])
        assert {config.annotation.full_fraction for config in configs} == {share}


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_settings_win_over_the_experiment(name: str) -> None:
    arm = "paper_supervised" if name == "slices" else "supervised"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        # In a sweep the experiment, a parameter of the ablation, comes before the command line.
        config = compose("train", [f"+experiment={arm}", f"+reduced={name}"])
    assert config.name == arm
    assert (config.patches.size[0] == 1) == (name == "slices")
    assert config.trainer.max_epochs < 5
    assert config.early_stopping is None


def test_the_paper_has_its_shares_and_draws() -> None:
    figure = swept("paper_figure4")
    assert figure["annotation.full_fraction"] == ["0.02", "0.05", "0.1"]
    assert figure["annotation.draw"] == ["0", "1", "2", "3", "4"]
    assert swept("paper_table1")["annotation.full_fraction"] == ["0.02"]
    assert swept("paper_table2")["annotation.full_fraction"] == ["0.05"]
    assert swept("paper_table3")["network"] == ["segformer_b0"]
