"""Convert command lines as users write them to the form that Hydra accepts."""

import re
from collections.abc import Callable, Sequence

from neoseg.borrowed import hydra_options
from neoseg.configuration.config import is_group
from neoseg.configuration.described import choices_of, keys_of, known_words
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError

_OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@:]*=")

_ALIASES = {"predict": {"model": "run"}}
"""Aliases of keys by command: for `predict`, a file of `neoseg export` is called a model."""


def in_order(command: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with all settings as `key=value`, followed by the options.

    Hydra does not accept settings after an option that follows other settings. `--cohort bids`,
    `--cohort=bids` and, for a boolean key, `--compile` are settings, too.

    Raises:
        ConfigError: an unknown option, or a key without a value.
    """
    settings: list[str] = []
    options: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        flag, equals, _ = word.partition("=")
        is_value = _value_test(flag, command) if word.startswith("-") else None
        if is_value is not None:
            options.append(word)
            if not equals and words and is_value(words[0]):
                options.append(words.pop(0))
        elif word.startswith("--"):
            settings.append(_setting(word, words, command))
        else:
            (options if word.startswith("-") else settings).append(word)
    aliases = _ALIASES.get(command, {})
    parts = (setting.partition("=") for setting in settings)
    return [*(f"{aliases.get(key, key)}{equals}{value}" for key, equals, value in parts), *options]


def _value_test(flag: str, command: str) -> Callable[[str], bool] | None:
    """Return a test whether a word is the value of this Hydra option; None for any other flag."""
    known_options = hydra_options()
    if flag.startswith("--") and flag[2:] in known_words(command):
        return None  # such as the key `run` of `predict`, which is an option of Hydra, too
    matches = [option for option in known_options if option.startswith(flag)]
    is_exact = flag in known_options or not flag.startswith("--") or len(matches) != 1
    return known_options.get(flag if is_exact else matches[0])


def _setting(word: str, words: list[str], command: str) -> str:
    """Return `--key value` as `key=value`; the value is removed from the following words."""
    key, equals, value = word[2:].partition("=")
    key = _ALIASES.get(command, {}).get(key, key)
    known = known_words(command)
    if re.split("[.@]", key)[0] not in known:
        key = key.replace("-", "_")
    first = re.split("[.@]", key)[0]
    if first not in known:
        near = nearest(first, sorted({*known, *(o[2:] for o in hydra_options() if o[:2] == "--")}))
        raise ConfigError(f"there is no option '{word}'; settings are written key=value{near}")
    if not equals:
        if words and not words[0].startswith("-") and not _OVERRIDE.match(words[0]):
            value = words.pop(0)
        elif any(isinstance(p.value, bool) for p in keys_of(command).get(key, {}).values()):
            value = "true"
        else:
            raise ConfigError(f"'{word}' has no value; write {key}=VALUE")
    plus = "+" if is_group(key) and key not in choices_of(command) and "@" not in key else ""
    return f"{plus}{key}={value}"
