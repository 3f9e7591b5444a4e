"""What tells runs apart, in few words."""

from __future__ import annotations

import pytest

from neoseg.evaluation.report.differences import differences

NET = {"name": "unet", "net": {"_target_": "monai.UNet", "channels": [1, 2]}}


@pytest.mark.parametrize(
    ("configs", "texts"),
    [
        ([{"lr": 0.1}, {"lr": 0.1}], ["", ""]),
        ([{"optimizer": {"lr": 0.1}}, {"optimizer": {"lr": 1e-5}}], ["lr 0.1", "lr 1e-05"]),
        ([{"teacher": {"decay": 1}}, {"teacher": None}], ["teacher set", "teacher none"]),
        # The name says it; channels that go with it are not told.
        (
            [{"network": NET}, {"network": NET | {"name": "vnet", "net": {"channels": [3]}}}],
            ["network unet", "network vnet"],
        ),
        # Of one name the channels tell.
        (
            [{"network": NET}, {"network": NET | {"net": NET["net"] | {"channels": [3]}}}],
            ["channels 1+2", "channels 3"],
        ),
        # A term more is a difference, a key that an older version lacks is none.
        (
            [{"loss": {"iuc": {"weight": 1}}}, {"loss": {"iuc": {"weight": 1}, "focal": None}}],
            ["loss iuc", "loss iuc+focal"],
        ),
        ([{"window": {"overlap": 0.5}}, {"window": {"overlap": 0.5, "mirror": False}}], ["", ""]),
        (
            [{"split": {"file": "/home/me/a.csv"}}, {"split": {"file": "b.csv"}}],
            ["file a.csv", "file b.csv"],
        ),
        # Different values have different texts, as long as that takes.
        (
            [{"split": {"file": "/one/of/a.csv"}}, {"split": {"file": "/two/of/a.csv"}}],
            ["file one/of/a.csv", "file two/of/a.csv"],
        ),
        (
            [{"sizes": ["a" * 41]}, {"sizes": ["a" * 40 + "b"]}],
            [f'sizes ["{"a" * 41}"]', f'sizes ["{"a" * 40}b"]'],
        ),
        ([{"lr": 0.12345678}, {"lr": 0.12345679}], ["lr 0.12345678", "lr 0.12345679"]),
    ],
)
def test_differences(configs, texts) -> None:
    assert differences(configs) == texts


def test_patterns_make_no_difference() -> None:
    configs = [{"seed": 0, "logger": {"a": 1}}, {"seed": 1, "logger": {"a": 2}}]
    assert differences(configs, ["seed", "logger.*"]) == ["", ""]


def test_keys_that_are_also_at_the_top_keep_their_section() -> None:
    configs = [{"seed": 0, "split": {"seed": n}} for n in (0, 1)]
    assert differences(configs, ("seed",)) == ["split.seed 0", "split.seed 1"]
