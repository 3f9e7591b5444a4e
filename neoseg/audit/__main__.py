"""Rank what may be wrong with a cohort's annotations: `python -m neoseg.audit run=RUN`."""

from neoseg.commands.entry import command

main = command("audit")

if __name__ == "__main__":
    main()
