"""Generate a synthetic cohort: `python -m neoseg.phantom output=DIR subjects=24 seed=0`."""

from neoseg.commands.entry import command

main = command("phantom")

if __name__ == "__main__":
    main()
