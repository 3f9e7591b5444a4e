"""Segment scans with trained runs: `python -m neoseg.predict run=DIR input=PATH output=DIR`."""

from neoseg.commands.entry import command

main = command("predict")

if __name__ == "__main__":
    main()
