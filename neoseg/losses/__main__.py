"""`python -m neoseg.losses`: list loss terms, a line each."""

from __future__ import annotations

import argparse
import json

from neoseg.losses.build import TermDescription, describe
from neoseg.losses.registry import LossError, names


def line(term: TermDescription) -> str:
    """One line: name, heads, what it is, and what it needs."""
    notes = [f"needs {name}" for name in term.needs]
    if not term.accepts_partial:
        notes.append("leaves partial labels out")
    note = f" [{'; '.join(notes)}]" if notes else ""
    return f"{term.name:20} {'/'.join(term.heads):19} {term.summary}{note}"


def settings(term: TermDescription) -> list[str]:
    """Each key with its default as on a command line, and what it means."""
    lines = []
    for name, value in term.settings.items():
        shown = json.dumps(value, default=str).replace('"', "")
        note = f"  # {term.notes[name]}" if term.notes[name] else ""
        lines.append(f"{'':20}   loss.{term.name}.{name}={shown}{note}")
    return lines


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(
        prog="python -m neoseg.losses",
        description="List the loss terms: name, heads, what it is. Choose with 'loss=[a,b]'.",
    )
    parser.add_argument("names", nargs="*", help="names or dotted paths; all terms without any")
    parser.add_argument("--settings", action="store_true", help="show settings and defaults too")
    arguments = parser.parse_args()
    for name in arguments.names or names():
        try:
            # Whoever types a path here trusts it.
            (term,) = describe(name, allow=(name.partition(".")[0],))
        except LossError as error:
            print(f"{name:20} {error}")
            continue
        print("\n".join([line(term), *(settings(term) if arguments.settings else ())]))


if __name__ == "__main__":
    main()
