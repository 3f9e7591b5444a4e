"""Replay the step whose loss was not a number: `python -m neoseg.replay patch=FILE`."""

from neoseg.commands.entry import command

main = command("replay")

if __name__ == "__main__":
    main()
