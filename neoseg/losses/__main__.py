"""`python -m neoseg.losses`: list the loss terms, one per line."""

import argparse
import json

from neoseg.losses.build import TermDescription, describe
from neoseg.losses.registry import LossError, names


def line(term: TermDescription) -> str:
    """Return one line: name, heads, summary and requirements."""
    notes = [f"needs {name}" for name in term.needs]
    if not term.accepts_partial:
        notes.append("leaves partial labels out")
    note = f" [{'; '.join(notes)}]" if notes else ""
    return f"{term.name:20} {'/'.join(term.heads):19} {term.summary}{note}"


def settings(term: TermDescription) -> list[str]:
    """Return a line for each key: its default, as on a command line, and its description."""
    lines = []
    for name, value in term.settings.items():
        default = json.dumps(value, default=str).replace('"', "")
        note = f"  # {term.notes[name]}" if term.notes[name] else ""
        lines.append(f"{'':20}   loss.{term.name}.{name}={default}{note}")
    return lines


def main() -> None:
    """Print the list of terms."""
    parser = argparse.ArgumentParser(
        prog="python -m neoseg.losses",
        description="List the loss terms: name, heads, what it is. Choose with 'loss=[a,b]'.",
    )
    parser.add_argument("names", nargs="*", help="names or dotted paths; all terms without any")
    parser.add_argument("--settings", action="store_true", help="show settings and defaults too")
    arguments = parser.parse_args()
    for name in arguments.names or names():
        try:
            # A path typed on the command line is trusted.
            (term,) = describe(name, allow=(name.partition(".")[0],))
        except LossError as error:
            print(f"{name:20} {error}")
            continue
        print("\n".join([line(term), *(settings(term) if arguments.settings else ())]))


if __name__ == "__main__":
    main()
