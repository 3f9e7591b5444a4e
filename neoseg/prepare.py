"""Examine and prepare a cohort before training: `python -m neoseg.prepare cohort=dhcp ...`."""

from neoseg.commands.entry import command

main = command("prepare")

if __name__ == "__main__":
    main()
