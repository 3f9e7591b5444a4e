"""What is wrong with data, a configuration or the machine, and how it is told."""

from neoseg.findings.nearest import nearest
from neoseg.findings.problems import CohortError, OnError, Problem, Problems, shorten
from neoseg.findings.settings import ConfigError, Settings, parse_settings

__all__ = [
    "CohortError",
    "ConfigError",
    "OnError",
    "Problem",
    "Problems",
    "Settings",
    "nearest",
    "parse_settings",
    "shorten",
]
