"""Explain a key, a group or an option of the configuration, from the files of `conf/`."""

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
    """Return the text about a key (`patches.size`, or just `size`), a group or an option.

    Args:
        word: such as `patches.size`, `patches` or `patches=gpu`.

    Raises:
        LookupError: an unknown name; the message suggests similar ones.
    """
    word = word.lstrip("+~")
    name, _, option = word.partition("=")
    if name in groups():
        if not option:
            return "\n".join(_group_lines(name))
        if option in options(name):
            return "\n".join(_option_lines(name, option))
        raise LookupError(f"there is no {name} '{option}'{nearest(option, options(name))}")
    keys = {command: keys_of(command) for command in composed_commands()}
    known = {key for settings in keys.values() for key in settings}
    matches = {key for key in known if key == name}
    matches = matches or {key for key in known if key.endswith(f".{name}")}
    if not matches:
        last_parts = {key.rpartition(".")[2] for key in known}
        raise LookupError(
            f"there is no key '{name}'{nearest(name, known | last_parts | {*groups()})}"
        )
    return "\n\n".join("\n".join(_key_lines(key, keys)) for key in sorted(matches))


def _key_lines(key: str, keys: Mapping[str, Mapping[str, Mapping[str, Setting]]]) -> Iterator[str]:
    commands = [command for command, settings in keys.items() if key in settings]
    command = commands[0]
    places = keys[command][key]
    group = key.partition(".")[0]
    default_option = choices_of(command).get(group)
    main = next((p for p in (f"{group}={default_option}", "") if p in places), next(iter(places)))
    comment = comments_of(command).get(key) or ""
    if not comment and group == _LOSS:
        comment = _loss_note(key)
    yield f"{key}: {comment}" if comment else key
    setting = places[main]
    if isinstance(setting.value, dict):
        comments = comments_of(command)
        for name, value in setting.value.items():
            note = comments.get(f"{key}.{name}", "")
            yield f"    {_override_line(f'{key}.{name}', value)}{f'  # {note}' if note else ''}"
    else:
        yield f"  default   {_shown(setting.value)}{f'  (with {main})' if main else ''}"
    for place, other in places.items():
        noted = other.comment not in ("", comment)
        if (
            place != main
            and not isinstance(other.value, dict)
            and (noted or other.value != setting.value)
        ):
            yield f"  with      {place}: {_shown(other.value)}{f'  # {other.comment}' * noted}"
    yield f"  stands in {', '.join(dict.fromkeys(_files(places)))}"
    yield f"  of        {', '.join(f'neoseg {name}' for name in commands)}"
    if not isinstance(setting.value, dict):
        yield f"  set it    {_override_line(key, setting.value)}"


def _override_line(key: str, value: object) -> str:
    return override(key, "...") if value == REQUIRED else override(key, shown(value))


def _shown(value: object) -> str:
    return "none, it has to be given" if value == REQUIRED else shown(value)


def _files(places: Mapping[str, Setting]) -> Iterator[str]:
    """Yield where a key is defined: a file of `conf/`, or the source of an option."""
    for place, setting in places.items():
        yield f"conf/{setting.file}" if setting.file else f"the source of {place}"


def _group_lines(group: str) -> Iterator[str]:
    defaults = {command: choices_of(command).get(group) for command in composed_commands()}
    commands = [c for c in defaults if group in choices_of(c)] or ["train"]
    plus = "+" if group in PRESETS else ""
    yield f"{group}: a group, chosen with {plus}{group}=OPTION, of {', '.join(commands)}"
    default = defaults[commands[0]]
    for name in options(group):
        is_first = name in default if isinstance(default, list) else name == default
        yield f"  {'*' if is_first else ' '} {name:22} {_about(group, name)}".rstrip()
    if default is not None:
        yield "  * without a choice"
    yield f"neoseg explain {group}=OPTION tells its keys"


def _option_lines(group: str, option: str) -> Iterator[str]:
    yield f"{group}={option}: {_about(group, option)}".rstrip(": ")
    for key, setting in settings_of_option(group, option).items():
        if isinstance(setting.value, dict) or group in PRESETS or "._" in key:
            continue
        note = setting.comment or (_loss_note(key) if group == _LOSS else "")
        yield f"    {_override_line(key, setting.value)}{f'  # {note}' if note else ''}"
    if group in PRESETS:
        yield f"    what it sets stands in conf/{group}/{option}.yaml"


def _about(group: str, option: str) -> str:
    return about(group, option) or (_loss_description(option)[0] if group == _LOSS else "")


def _loss_note(key: str) -> str:
    """Return the description of a loss or of one of its keys."""
    _, name, *below = key.split(".")
    summary, notes = _loss_description(name)
    return notes.get(below[0], "") if below else summary


def _loss_description(name: str) -> tuple[str, Mapping[str, str]]:
    """Return the descriptions of a loss and of its keys; its class is imported for them."""
    from neoseg.losses.build import describe
    from neoseg.losses.registry import LossError

    settings = settings_of_option(_LOSS, name)[f"{_LOSS}.{name}"].value
    try:
        (term,) = describe(settings.get("term", name))
    except LossError as error:  # from another package that cannot be imported
        return str(error), {}
    return term.summary, term.notes
