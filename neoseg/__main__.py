"""The command `neoseg`: lists what there is, and starts it; `python -m neoseg` is the same."""

from __future__ import annotations

import ast
import os
import runpy
import sys
from pathlib import Path

from neoseg.findings.nearest import nearest

_PACKAGE = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Return what each command does in a line, by name: all that `python -m neoseg.NAME` starts."""
    places = {path.stem: path for path in _PACKAGE.glob("[!_]*.py")}
    places |= {path.parent.name: path for path in _PACKAGE.glob("*/__main__.py")}
    sources = {name: path.read_text(encoding="utf-8") for name, path in sorted(places.items())}
    return {name: _line(text) for name, text in sources.items() if '__name__ == "__main__"' in text}


def _line(source: str) -> str:
    """Return the first line of a module's docstring, without the command that it shows."""
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    what, *shown = first.split("`")
    text = what.rstrip(": ") if shown and what else "".join(shown[1:]).lstrip(": ")
    return text[:1].upper() + text[1:].rstrip(".")


def overview() -> str:
    """Return what `neoseg` alone says."""
    from neoseg import __doc__ as about
    from neoseg import __version__

    found = commands()
    width = max(map(len, found)) + 2
    return "\n".join(
        [
            f"neoseg {__version__}: {(about or '').partition('.')[0].lower()}\n",
            *(f"  {name:{width}}{line}" for name, line in found.items()),
            "\nneoseg COMMAND --help tells what a command takes, neoseg explain KEY what a key is.",
            f"The shell completes commands and keys after: {COMPLETION}",
        ]
    )


COMPLETION = 'eval "$(neoseg completion)"'
"""The line that installs completion in bash and zsh."""


def main() -> None:
    """Start the command that the first argument names, as `python -m` does."""
    try:
        _main()
        sys.stdout.flush()
    except BrokenPipeError:  # `neoseg | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _main() -> None:
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(overview())
    elif name == "--version":
        from neoseg import __version__

        print(f"neoseg {__version__}")
    elif name not in commands():
        sys.stderr.write(f"there is no command '{name}'{nearest(name, commands())}\n")
        sys.exit(2)
    else:
        if os.getcwd() not in sys.path:  # where `python -m` finds a loss of one's own, too
            sys.path.append(os.getcwd())
        sys.argv[1:] = rest
        runpy.run_module(f"neoseg.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
