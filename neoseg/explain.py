"""Explain a key, group or option: `python -m neoseg.explain patches.size`."""

import sys

from neoseg.commands.explain import explain


def main() -> None:
    """Print the explanation of each argument; exit with status 2 at the first unknown one."""
    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h"):
        print(f"{__doc__}\n\nA key (patches.size, lr), a group (loss) or an option (patches=gpu).")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    for number, word in enumerate(sys.argv[1:]):
        try:
            print("\n" * bool(number) + explain(word))
        except LookupError as error:
            sys.stderr.write(f"{error.args[0]}\n")
            sys.exit(2)


if __name__ == "__main__":
    main()
