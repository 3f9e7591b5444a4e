"""Location of the configuration files, the resolvers that compose them, and Hydra's mode."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from neoseg.borrowed import share_config_store
from neoseg.configuration.nodes import CONFIG_DIR as CONFIG_DIR
from neoseg.configuration.nodes import register_nodes

if TYPE_CHECKING:
    from neoseg.labels import LabelSpace

LONGEST_NAME = 64
"""Maximum length of the name of a job folder, in characters."""

OLD_LONGEST_NAME = 200
"""Maximum length in sweeps of earlier versions, in bytes."""

_START_KEYS = (
    "resume",
    "allow",
    "find_lr",
    "leaks",
    "plan",
    "trainer.max_time",
    "trainer.max_steps",
)
"""Keys that may change when a run is resumed, besides those left out of job names."""


def register_resolvers() -> None:
    """Register the resolvers `first` and `job_name`.

    `${first:a,b}` is the first argument that is neither null nor empty.
    `${job_name:overrides,patterns,sweep}` is the name of a job folder within the folder of a sweep,
    made of its overrides except those whose keys match one of the patterns.
    """
    OmegaConf.register_new_resolver(
        "first",
        lambda *values: next((v for v in values if v not in (None, "", "None")), None),
        replace=True,
    )
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def job_name(
    overrides: Iterable[str], patterns: Iterable[str], sweep: str | Path | None = None
) -> str:
    """Return the name of a job folder, such as "+experiment-supervised_annotation.draw-1".

    The name is easy to type: if it is too long or has characters that are special to a shell or to
    Hydra, it is cleaned, cut and extended with a hash.

    Args:
        overrides: as on the command line.
        patterns: wildcard patterns of the keys that are left out of the name.
        sweep: folder of the sweep; a job that an earlier version started there keeps its name.
    """
    keys = {line: re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0] for line in overrides}
    patterns = list(patterns)
    lines = (line for line, key in keys.items() if not any(fnmatchcase(key, p) for p in patterns))
    # No equals signs, so that the folder can be passed to run= and resume=. No slashes, so that a
    # value such as ../x does not lead elsewhere. No quotes, so that the name can be quoted.
    text = "_".join(sorted(lines)).replace("=", "-").replace("/", "-")
    text = re.sub(r"[\"'\\]", "", text)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    old_name = text
    if len(text.encode()) > OLD_LONGEST_NAME:
        old_name = f"{text.encode()[: OLD_LONGEST_NAME - 9].decode(errors='ignore')}_{digest}"
    if sweep is not None and Path(sweep, old_name).is_dir():
        return old_name
    # No dollar signs: ${annotation.draw} in a name would be interpolated in some places.
    name = re.sub(r"[^\w.+@-]+", "-", text, flags=re.ASCII)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{digest}"


def sweeping() -> bool:
    """Return whether this process runs a sweep (-m)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_group(key: str) -> bool:
    """Return whether a key (`group`, `group@package`) selects a file of `conf/`."""
    return (CONFIG_DIR / re.split("[@:]", key)[0]).is_dir()


def label_space(table: str | Path) -> LabelSpace:
    """Return the label space of `conf/labels/<table>.yaml`, or of a label table given by its path.

    Raises:
        LabelError: a file that cannot be read, or an inconsistent table.
    """
    from neoseg.labels import LabelSpace, LabelTable

    built_in = CONFIG_DIR / "labels" / f"{table}.yaml"
    return LabelSpace.from_table(LabelTable.read(built_in if built_in.is_file() else Path(table)))


@cache
def no_result_keys() -> tuple[str, ...]:
    """Return the patterns of keys that may change when a run is resumed."""
    content = yaml.safe_load((CONFIG_DIR / "train.yaml").read_text(encoding="utf-8"))
    job = content["hydra"]["job"]["config"]
    return (*_START_KEYS, *job["override_dirname"]["exclude_keys"])


register_resolvers()
register_nodes()
share_config_store()
