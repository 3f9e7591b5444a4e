"""The command `neoseg`, or `python -m neoseg`: list the commands, or start one."""

import ast
import os
import runpy
import sys
from pathlib import Path

from neoseg.findings.nearest import nearest
from neoseg.terminal import outlive_readers, require_folder

_PACKAGE = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Return a one-line summary of each command, by name: every `python -m neoseg.NAME`."""
    places = {path.stem: path for path in _PACKAGE.glob("[!_]*.py")}
    places |= {path.parent.name: path for path in _PACKAGE.glob("*/__main__.py")}
    sources = {name: path.read_text(encoding="utf-8") for name, path in sorted(places.items())}
    return {
        name: _summary_line(text)
        for name, text in sources.items()
        if '__name__ == "__main__"' in text
    }


def _summary_line(source: str) -> str:
    """Return the first line of a module's docstring, without the example command in backticks."""
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    summary, *quoted = first.split("`")
    text = summary.rstrip(": ") if quoted and summary else "".join(quoted[1:]).lstrip(": ")
    return text[:1].upper() + text[1:].rstrip(".")


def overview() -> str:
    """Return the text that `neoseg` prints without arguments."""
    from neoseg import __doc__ as about
    from neoseg import __version__

    summaries = commands()
    width = max(map(len, summaries)) + 2
    return "\n".join(
        [
            f"neoseg {__version__}: {(about or '').partition('.')[0].lower()}\n",
            *(f"  {name:{width}}{line}" for name, line in summaries.items()),
            "\nneoseg COMMAND --help tells what a command takes, neoseg explain KEY what a key is.",
            f"The shell completes commands and keys after: {COMPLETION}",
        ]
    )


COMPLETION = 'eval "$(neoseg completion)"'
"""The line that installs completion in bash and zsh."""


def main() -> None:
    """Run the command that the first argument names, as `python -m` does."""
    outlive_readers()
    require_folder()
    _main()


def _main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(overview())
    elif name == "--version":
        from neoseg import __version__

        print(f"neoseg {__version__}")
    elif name not in commands():
        sys.stderr.write(f"there is no command '{name}'{nearest(name, commands())}\n")
        sys.exit(2)
    else:
        if os.getcwd() not in sys.path:  # `python -m` finds a user's own modules there, too
            sys.path.append(os.getcwd())
        sys.argv[1:] = arguments
        runpy.run_module(f"neoseg.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
