"""Command lines as people write them, as Hydra takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from neoseg.borrowed import hydra_options
from neoseg.configuration.config import is_group
from neoseg.configuration.described import choices_of, keys_of, known_words
from neoseg.findings.nearest import nearest
from neoseg.findings.settings import ConfigError

_OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@:]*=")


_OTHER_NAMES = {"predict": {"model": "run"}}
"""Of keys, by command: a file of `neoseg export` is called a model."""


def in_order(command: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with its settings as `key=value`, before all options.

    Hydra takes no settings after an option that follows others. `--cohort bids`, `--cohort=bids`
    and, of a key that is true or false, `--compile` are settings, too.

    Raises:
        ConfigError: an option that is none, or a key without a value.
    """
    settings: list[str] = []
    options: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        flag, equals, _ = word.partition("=")
        takes = _takes(flag, command) if word.startswith("-") else None
        if takes is not None:
            options.append(word)
            if not equals and words and takes(words[0]):
                options.append(words.pop(0))
        elif word.startswith("--"):
            settings.append(_setting(word, words, command))
        else:
            (options if word.startswith("-") else settings).append(word)
    other = _OTHER_NAMES.get(command, {})
    parts = (setting.partition("=") for setting in settings)
    return [*(f"{other.get(key, key)}{equals}{value}" for key, equals, value in parts), *options]


def _takes(flag: str, command: str) -> Callable[[str], bool] | None:
    """Return whether a word after an option of Hydra belongs to it; None for what is none."""
    known = hydra_options()
    if flag.startswith("--") and flag[2:] in known_words(command):
        return None  # the key `run` of `predict`, not that Hydra should run
    near = [option for option in known if option.startswith(flag)]
    exact = flag in known or not flag.startswith("--") or len(near) != 1
    return known.get(flag if exact else near[0])


def _setting(word: str, words: list[str], command: str) -> str:
    """Return `--key value` as `key=value`; takes the value from the words that follow."""
    key, equals, value = word[2:].partition("=")
    key = _OTHER_NAMES.get(command, {}).get(key, key)
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
