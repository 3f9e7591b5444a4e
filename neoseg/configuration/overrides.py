"""Explain command lines that Hydra cannot compose, and suggest the nearest valid name."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from re import search

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neoseg.borrowed import hydra_arguments, mappings_of
from neoseg.configuration.composed import cases, parsed_overrides, with_folder
from neoseg.configuration.config import CONFIG_DIR, is_group
from neoseg.configuration.described import flat, groups
from neoseg.configuration.nodes import options
from neoseg.configuration.path_values import is_path
from neoseg.findings.command_line import override as as_override
from neoseg.findings.command_line import quoted
from neoseg.findings.nearest import nearest

_OTHER_CONFIG_FLAGS = ("config_path", "config_name", "experimental_rerun")
_INFO_FLAGS = ("help", "hydra_help", "version", "info", "shell_completion")
"""Hydra flags that compose another configuration, and flags that only display information."""

FOLDER_OF = {"evaluate": "run", "predict": "output", "phantom": "output", "report": "output"}
"""Keys whose value is the folder into which Hydra logs, by command."""


def explain_arguments(name: str, arguments: Sequence[str]) -> str | None:
    """Return what is wrong with the arguments of a command, or None if they compose.

    For a sweep each option of a group is tried, so that an error ends it before its first job
    rather than at the last. Errors that cannot be explained are left to Hydra.

    Args:
        name: name of the configuration.
        arguments: command-line arguments without the program.
    """
    parsed, foreign = hydra_arguments(arguments), (*_OTHER_CONFIG_FLAGS, *_INFO_FLAGS)
    if parsed is None or any(getattr(parsed, flag, None) for flag in foreign):
        return None
    missing_folder = parsed.config_dir and not Path(parsed.config_dir).is_dir()
    if missing_folder or GlobalHydra.instance().is_initialized():
        return None
    problems = [*_hidden_options(parsed.config_dir), *_repeated_keys(parsed.overrides)]
    problems += [] if parsed.multirun else _several_values(parsed.overrides, name)
    if problems:
        return "\n".join(problems)
    for overrides in cases(with_folder(parsed.overrides, parsed.config_dir)):
        try:
            config = _compose(name, overrides)
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            message = explain(error, name, overrides)
            if message is not None:
                return message
            continue
        folder = FOLDER_OF.get(name, "")
        if OmegaConf.is_list(config.get(folder)):
            return f"{folder} names several, and {name} takes one: give each a command of its own"
        # A resumed run has its own configuration.
        resumes = parsed.cfg or config.get("resume")
        if not resumes and (unset := list(unset_keys(config))):
            return "\n".join(unset)
    return None


def _hidden_options(folder: str | None) -> list[str]:
    """Report files of a `--config-dir` that built-in options of the same name would hide."""
    return [
        f"{path}: neoseg has a {path.parent.name} '{path.stem}' of its own, which would be taken; "
        "give the file another name"
        for path in sorted(Path(folder or CONFIG_DIR).glob("*/*.yaml"))
        if folder and path.stem in options(path.parent.name)
    ]


def _repeated_keys(overrides: Sequence[str]) -> Iterator[str]:
    """Report mappings with a repeated key, of which Hydra would silently keep the last."""
    for line in overrides:
        for mapping in mappings_of(line):
            repeated = [key for number, key in enumerate(mapping) if key in mapping[:number]]
            if repeated:
                message = "is given twice, of which the last would count; keep one"
                yield f"'{line}': {repeated[0]} {message}"


def _several_values(overrides: Sequence[str], name: str) -> Iterator[str]:
    """Report overrides with several values in a command that is not a sweep.

    Overrides that select a cluster or a Hydra plugin may make it a sweep, so nothing is reported.
    """
    if any(line.startswith(("cluster=", "hydra.mode=", "hydra/")) for line in overrides):
        return
    for override in parsed_overrides(overrides):
        if override.is_sweep_override() and not override.key_or_group.startswith("hydra."):
            key, _, value = str(override.input_line).partition("=")
            remedies = ["for as many runs add -m"] if name == "train" else []
            takes_list = key.lstrip("+") == "loss" or not is_group(key.lstrip("+"))
            if takes_list and "," in value and "(" not in value:
                remedies.append(f"one value that is a list is written '{key}=[{value}]'")
            remedy = "; ".join(remedies) or "give one"
            yield f"'{override.input_line}' is a choice of several values: {remedy}"


def unset_keys(config: DictConfig) -> Iterator[str]:
    """Yield a message for each required value that is not set."""
    for key in sorted(OmegaConf.missing_keys(config)):
        yield f"{key} is not set; give it, as in {key}=..."


def explain(error: Exception, name: str, overrides: Sequence[str]) -> str | None:
    """Explain a failed composition; None if the cause is not clear."""
    if isinstance(error, OverrideParseException):
        reason = str(error.message).splitlines()[0]
        key, _, value = str(error.override).partition("=")
        if value and is_path(key) and not value.startswith("["):
            line = as_override(key, quoted(value))
            return f"'{error.override}' names nothing that is there; if it should, write {line}"
        return (
            f"'{error.override}' cannot be read: {reason}; write key=value, 'key=[a,b]' in quotes"
        )
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    if isinstance(error, ConfigCompositionException):
        match = search(r"Could not override '([^']+)'", str(error))
        return None if match is None else _unknown_key(match[1], name, overrides)
    for override in parsed_overrides(overrides):
        group, choice = override.key_or_group, override.value()
        if is_group(group) and choice is None:
            return f"'{override.input_line}': a group is taken away with '~{group}'"
        items = choice if isinstance(choice, list) else [choice]
        odd = [item for item in items if not isinstance(item, str)]
        if is_group(group) and odd:
            return (
                f"'{override.input_line}': found {odd[0]!r}, expected a name; {group} has the "
                f"options {', '.join(options(group))}"
            )
    return None


def _compose(name: str, overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(name, list(overrides))


def _unknown_option(error: MissingConfigException) -> str | None:
    group, _, option = str(error.missing_cfg_file or "").rpartition("/")
    known = sorted({*options(group), *(error.options or ())})
    if not group or not known:
        return None
    return f"there is no {group} '{option}'{nearest(option, known)}"


def _unknown_key(key: str, name: str, overrides: Sequence[str]) -> str:
    """Explain an unknown key, and suggest similar ones."""
    written = next((o for o in overrides if o.lstrip("+~").startswith(f"{key}=")), key)
    experiment = next((o for o in overrides if o.lstrip("+").startswith("experiment=")), None)
    if experiment is not None and written == key and name not in ("train", "plan"):
        return (
            f"'{experiment}': {name} takes no experiment, which says how a network is trained; "
            "leave it out"
        )
    if key.startswith("extra_cohorts."):
        return f"'{written}': extra_cohorts gets further keys with a plus, +{written}"
    if is_group(key) and key != "":
        return f"'{written}': {key} has no default; choose it with a plus, +{written}"
    try:
        config = _compose(name, [o for o in overrides if _is_choice(o.lstrip("+~").split("=")[0])])
    except (HydraException, OmegaConfBaseException, ValueError):
        config = _compose(name, [])
    if OmegaConf.select(config, key) is not None:  # a mapping that accepts further keys
        return f"'{written}': {key} gets further keys with a plus, +{written}"
    known = {*dict(flat(OmegaConf.to_container(config))), *groups()}
    parent, part, rest = _first_wrong(key, known)
    siblings = sorted({k[len(parent) :].split(".")[0] for k in known if k.startswith(parent)})
    matches = get_close_matches(part, siblings, n=2, cutoff=0.6)
    similar = [f"{parent}{match}{rest}" for match in matches]
    similar = [k if k in known else k.removesuffix(rest) for k in similar]
    similar += [k for k in sorted(known) if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    suggestions = list(dict.fromkeys(similar))[:3]
    alternatives = f"it can be {', '.join(f'{parent}{name}' for name in siblings)}"
    if not siblings and is_group(group := parent.removesuffix(".")):
        alternatives = f"choose one first, as {group}={'|'.join(options(group))}"
    hint = f"did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else alternatives
    source = experiment if experiment is not None and written == key else written
    return f"'{source}': there is no key '{key}'; {hint}"


def _is_choice(key: str) -> bool:
    return is_group(key) or key == "hydra.searchpath"


def _first_wrong(key: str, known: set[str]) -> tuple[str, str, str]:
    """Split a dotted key into what exists, its first unknown part, and the rest (with dots)."""
    parts = key.split(".")
    depth = next((d for d in range(len(parts)) if ".".join(parts[: d + 1]) not in known), 0)
    parent = "".join(f"{part}." for part in parts[:depth])
    return parent, parts[depth], "".join(f".{part}" for part in parts[depth + 1 :])
