"""Compose command lines as Hydra will, before it does or for another command."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from neoseg.borrowed import hydra_arguments
from neoseg.configuration.config import CONFIG_DIR, is_group
from neoseg.findings.command_line import quoted

SEARCH_PATH = "hydra.searchpath"


def composed(name: str, arguments: Sequence[str]) -> DictConfig | None:
    """Return the configuration of a command line, for a sweep that of its first options, or None.

    It has Hydra's own part. A command that Hydra runs may ask for that of another.
    """
    parsed = hydra_arguments(arguments)
    if parsed is None or parsed.config_name or parsed.config_path:
        return None
    overrides = next(cases(with_folder(parsed.overrides, parsed.config_dir)))
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose(name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError):
        return None
    finally:
        if running is not None:
            GlobalHydra.instance().initialize(running)


def with_folder(overrides: Sequence[str], folder: str | None) -> list[str]:
    """Return overrides with a `--config-dir` on Hydra's search path, beside what they put there."""
    if not folder:
        return list(overrides)
    given = [
        item.value()
        for item in parsed_overrides(overrides)
        if item.get_key_element() == SEARCH_PATH
    ]
    folders = [str(path) for value in given if isinstance(value, list) for path in value]
    folders.append(f"file://{Path(folder).absolute()}")
    others = [text for text in overrides if not text.startswith(f"{SEARCH_PATH}=")]
    return [*others, f"{SEARCH_PATH}=[{','.join(map(quoted, folders))}]"]


def cases(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield the overrides; for a sweep, one case for each option of each swept group."""
    parsed = parsed_overrides(overrides)
    if not parsed:
        yield list(overrides)
        return
    choices = [
        [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]
        if item.is_sweep_override()
        else [str(item.input_line)]
        for item in parsed
    ]
    first_choices = [values[0] for values in choices]
    yield first_choices
    for position, (item, values) in enumerate(zip(parsed, choices, strict=True)):
        if is_group(item.key_or_group):
            for option in values[1:]:
                yield [*first_choices[:position], option, *first_choices[position + 1 :]]


def parsed_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return overrides as Hydra parses them; none if it cannot."""
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException:
        return []
