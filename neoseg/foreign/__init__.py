"""Read untrusted files, above all those of a run, as data only.

Every file of a run, a checkpoint, a store or a view is read here: it must be a regular file, not
reached by a link out of its folder, of limited size, and hold plain and finite values.
"""

from neoseg.foreign.config import CONFIG, read_config
from neoseg.foreign.files import (
    LARGEST,
    ForeignError,
    opened,
    read_bytes,
    read_table,
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
    "read_table",
    "read_text",
    "read_yaml",
    "require_no_link_out",
    "require_plain",
    "require_values",
    "value_at",
]
