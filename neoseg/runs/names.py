"""Names of the files by which a run folder is known."""

CONFIG = "config.yaml"
"""The whole configuration; there from the start."""

RECORD = "run.json"
"""What the run was; there when it has ended."""
