"""What a key, a group or an option of the configuration is, from the files of `conf/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from neoseg.configuration.described import (
    Setting,
    about,
    choices_of,
    comments_of,
    composed_commands,
    groups,
    keys_of,
    settings_of_option,
)
from neoseg.configuration.help import PRESETS, shown
from neoseg.configuration.nodes import REQUIRED, options
from neoseg.findings.command_line import override
from neoseg.findings.nearest import nearest

_LOSS = "loss"


def explain(word: str) -> str:
    """Return the lines about `patches.size` (or its end, `size`), `patches` or `patches=gpu`.

    Raises:
        LookupError: there is no such thing; the message names what is near.
    """
    word = word.lstrip("+~")
    name, _, option = word.partition("=")
    if name in groups():
        if not option:
            return "\n".join(_group(name))
        if option in options(name):
            return "\n".join(_option(name, option))
        raise LookupError(f"there is no {name} '{option}'{nearest(option, options(name))}")
    keys = {command: keys_of(command) for command in composed_commands()}
    known = {key for found in keys.values() for key in found}
    wanted = {key for key in known if key == name}
    wanted = wanted or {key for key in known if key.endswith(f".{name}")}
    if not wanted:
        ends = {key.rpartition(".")[2] for key in known}
        raise LookupError(f"there is no key '{name}'{nearest(name, known | ends | {*groups()})}")
    return "\n\n".join("\n".join(_key(key, keys)) for key in sorted(wanted))


def _key(key: str, keys: Mapping[str, Mapping[str, Mapping[str, Setting]]]) -> Iterator[str]:
    using = [command for command, found in keys.items() if key in found]
    command = using[0]
    places = keys[command][key]
    group = key.partition(".")[0]
    begins = choices_of(command).get(group)
    first = next((p for p in (f"{group}={begins}", "") if p in places), next(iter(places)))
    comment = comments_of(command).get(key) or ""
    if not comment and group == _LOSS:
        comment = _loss_note(key)
    yield f"{key}: {comment}" if comment else key
    setting = places[first]
    if isinstance(setting.value, dict):
        comments = comments_of(command)
        for name, value in setting.value.items():
            note = comments.get(f"{key}.{name}", "")
            yield f"    {_line(f'{key}.{name}', value)}{f'  # {note}' if note else ''}"
    else:
        yield f"  default   {_shown(setting.value)}{f'  (with {first})' if first else ''}"
    for place, other in places.items():
        said = other.comment not in ("", comment)
        if (
            place != first
            and not isinstance(other.value, dict)
            and (said or other.value != setting.value)
        ):
            yield f"  with      {place}: {_shown(other.value)}{f'  # {other.comment}' * said}"
    yield f"  stands in {', '.join(dict.fromkeys(_files(places)))}"
    yield f"  of        {', '.join(f'neoseg {name}' for name in using)}"
    if not isinstance(setting.value, dict):
        yield f"  set it    {_line(key, setting.value)}"


def _line(key: str, value: object) -> str:
    return override(key, "...") if value == REQUIRED else override(key, shown(value))


def _shown(value: object) -> str:
    return "none, it has to be given" if value == REQUIRED else shown(value)


def _files(places: Mapping[str, Setting]) -> Iterator[str]:
    """Yield where a key is stated: files of `conf/`, or what an option is built of."""
    for place, setting in places.items():
        yield f"conf/{setting.file}" if setting.file else f"the source of {place}"


def _group(group: str) -> Iterator[str]:
    begins = {command: choices_of(command).get(group) for command in composed_commands()}
    using = [c for c in begins if group in choices_of(c)] or ["train"]
    plus = "+" if group in PRESETS else ""
    yield f"{group}: a group, chosen with {plus}{group}=OPTION, of {', '.join(using)}"
    start = begins[using[0]]
    for name in options(group):
        is_first = name in start if isinstance(start, list) else name == start
        yield f"  {'*' if is_first else ' '} {name:22} {_about(group, name)}".rstrip()
    if start is not None:
        yield "  * without a choice"
    yield f"neoseg explain {group}=OPTION tells its keys"


def _option(group: str, option: str) -> Iterator[str]:
    yield f"{group}={option}: {_about(group, option)}".rstrip(": ")
    for key, setting in settings_of_option(group, option).items():
        if isinstance(setting.value, dict) or group in PRESETS or "._" in key:
            continue
        note = setting.comment or (_loss_note(key) if group == _LOSS else "")
        yield f"    {_line(key, setting.value)}{f'  # {note}' if note else ''}"
    if group in PRESETS:
        yield f"    what it sets stands in conf/{group}/{option}.yaml"


def _about(group: str, option: str) -> str:
    return about(group, option) or (_loss_words(option)[0] if group == _LOSS else "")


def _loss_note(key: str) -> str:
    """Return what a key of a loss means."""
    _, name, *below = key.split(".")
    summary, notes = _loss_words(name)
    return notes.get(below[0], "") if below else summary


def _loss_words(name: str) -> tuple[str, Mapping[str, str]]:
    """Return what a loss is, and its keys: its class says both, which only an import shows."""
    from neoseg.losses.build import describe
    from neoseg.losses.registry import LossError

    settings = settings_of_option(_LOSS, name)[f"{_LOSS}.{name}"].value
    try:
        (term,) = describe(settings.get("term", name))
    except LossError as error:  # of another package, which cannot be imported
        return str(error), {}
    return term.summary, term.notes
