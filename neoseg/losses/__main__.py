"""`python -m neoseg.losses`: list every loss term, a line each."""

from __future__ import annotations

import argparse

from neoseg.losses.registry import TermDescription, describe


def line(term: TermDescription) -> str:
    """One line: name, heads, what it is, and what it needs."""
    notes = [f"needs {name}" for name in term.needs]
    if not term.accepts_partial:
        notes.append("leaves partial labels out")
    note = f" [{'; '.join(notes)}]" if notes else ""
    return f"{term.name:20} {'/'.join(term.heads):19} {term.summary}{note}"


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(
        prog="python -m neoseg.losses",
        description="List the loss terms: name, heads, what it is. Choose with 'loss=[a,b]'.",
    )
    parser.add_argument("--settings", action="store_true", help="show settings and defaults too")
    arguments = parser.parse_args()
    for term in describe():
        print(line(term))
        if arguments.settings:
            for name, value in term.settings.items():
                print(f"{'':20}   loss.{term.name}.{name}={value}")


if __name__ == "__main__":
    main()
