"""Score a trained run on any labelled cohort: `python -m neoseg.evaluate run=DIR`."""

from neoseg.commands.entry import command

main = command("evaluate")

if __name__ == "__main__":
    main()
