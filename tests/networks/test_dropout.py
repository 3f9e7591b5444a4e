"""Whether a network drops anything out is asked of the network, without room for its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from neoseg.networks import NetworkError
from neoseg.networks.dropout import require_dropout

CONF = Path(__file__).parents[2] / "conf" / "network"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, "dropout") for name in ("unet3d", "unet3d_large", "resenc")),
        ("segresnet", "dropout_prob"),
    ],
)
def test_a_network_needs_some(name: str, key: str) -> None:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    assert config["net"][key] is None
    for nothing in (None, 0.0):
        config["net"][key] = nothing
        with pytest.raises(NetworkError, match=f"some reason, and network '{name}' has no dropout"):
            require_dropout(config, (64, 64, 64), (), "some reason")
    config["net"][key] = 0.1
    require_dropout(config, (64, 64, 64), (), "some reason")
