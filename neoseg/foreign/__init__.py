"""Reading what a stranger may have written, the files of a run above all, as data only.

Whatever comes from a run, a checkpoint, a store or a view passes here: regular files that no link
leads out of, of a limited size, that hold plain and finite values.
"""

from neoseg.foreign.config import CONFIG, read_config
from neoseg.foreign.files import (
    LARGEST,
    ForeignError,
    opened,
    read_bytes,
    read_text,
    require_no_link_out,
)
from neoseg.foreign.values import (
    json_of,
    read_json,
    read_yaml,
    require_plain,
    require_values,
    value_at,
)

__all__ = [
    "CONFIG",
    "LARGEST",
    "ForeignError",
    "json_of",
    "opened",
    "read_bytes",
    "read_config",
    "read_json",
    "read_text",
    "read_yaml",
    "require_no_link_out",
    "require_plain",
    "require_values",
    "value_at",
]
