"""Rank possible faults in the annotations of a cohort: `python -m neoseg.audit run=RUN`."""

from neoseg.commands.entry import command

main = command("audit")

if __name__ == "__main__":
    main()
