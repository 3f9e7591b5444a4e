"""What `import neoseg.losses` brings along; losses are of use in a notebook without the rest."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    *("monai", "lightning", "torch._dynamo", "pandas", "matplotlib", "scipy", "torchio", "wandb"),
)
SCRIPT = """
import sys, neoseg.losses
print(*sys.modules)
from neoseg.losses import find_term, names
names(), find_term("bce")
print(*sys.modules)
"""


def test_the_import_is_about_as_light_as_that_of_torch_and_a_loss_loads_no_other():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    first, later = (set(line.split()) for line in done.stdout.splitlines())
    assert "torch" in first
    assert first.isdisjoint(HEAVY)
    assert "neoseg.losses.iuc" not in first
    assert "neoseg.losses.bce" in later - first
    assert "neoseg.losses.iuc" not in later
