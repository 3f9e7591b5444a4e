"""Where the configuration lies, and what Hydra needs to know before it composes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from neoseg.borrowed import share_config_store
from neoseg.configuration.nodes import CONFIG_DIR as CONFIG_DIR
from neoseg.configuration.nodes import register_nodes

if TYPE_CHECKING:
    from neoseg.labels import LabelSpace

LONGEST_NAME = 64
"""Characters of the name of a job's folder."""

OLD_LONGEST_NAME = 200
"""Bytes that it had in sweeps of earlier versions."""


def register_resolvers() -> None:
    """Make `${first:a,b}` known, the first argument that is neither null nor empty, and others.

    `${job_name:overrides,patterns,sweep}` names the folder of a job by its overrides, without those
    of keys that match one of the patterns, in the folder of a sweep.
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
    """Return the name of a job's folder, such as "+experiment-supervised_annotation.draw-1".

    It can be typed: one that is long, or has characters that a shell or Hydra reads as its own, is
    what is left of its start, and a fingerprint.

    Args:
        overrides: as on the command line.
        patterns: of the keys that do not name it; an asterisk stands for anything.
        sweep: folder of the sweep; a job that an earlier version began there keeps its name.
    """
    keys = {line: re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0] for line in overrides}
    patterns = list(patterns)
    named = (line for line, key in keys.items() if not any(fnmatchcase(key, p) for p in patterns))
    # Without equals signs, so that the folder can be given to run= and resume=. One folder, here:
    # not one that a value such as ../x leads to. Without quotes, to stand between quotes.
    text = "_".join(sorted(named)).replace("=", "-").replace("/", "-")
    text = re.sub(r"[\"'\\]", "", text)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    old = text
    if len(text.encode()) > OLD_LONGEST_NAME:
        old = f"{text.encode()[: OLD_LONGEST_NAME - 9].decode(errors='ignore')}_{digest}"
    if sweep is not None and Path(sweep, old).is_dir():
        return old
    # Nor dollars: a value such as ${annotation.draw} would be filled in, in some places.
    name = re.sub(r"[^\w.+@-]+", "-", text, flags=re.ASCII)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{digest}"


def is_group(key: str) -> bool:
    """Tell whether a key (`group`, `group@package`) chooses a file of `conf/`."""
    return (CONFIG_DIR / re.split("[@:]", key)[0]).is_dir()


def label_space(table: str | Path) -> LabelSpace:
    """Return the label space of `conf/labels/<table>.yaml`, or of a file of that kind.

    Raises:
        LabelError: a file that cannot be read, or a table that contradicts itself.
    """
    from neoseg.labels import LabelSpace, LabelTable

    own = CONFIG_DIR / "labels" / f"{table}.yaml"
    return LabelSpace.from_table(LabelTable.read(own if own.is_file() else Path(table)))


register_resolvers()
register_nodes()
share_config_store()
