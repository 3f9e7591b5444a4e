"""What `import neoseg.losses` brings along; losses are of use in a notebook without the rest."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("monai", "lightning", "torch._dynamo", "pandas", "matplotlib", "scipy.stats", "torchio")


def loaded(code: str) -> set[str]:
    line = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_import_is_about_as_light_as_that_of_torch():
    modules = loaded("import neoseg.losses")
    assert modules.isdisjoint(HEAVY)
    assert "neoseg.losses.iuc" not in modules


def test_one_loss_does_not_load_the_others():
    modules = loaded("from neoseg.losses import find_term, names; names(); find_term('bce')")
    assert "neoseg.losses.bce" in modules
    assert "neoseg.losses.iuc" not in modules
