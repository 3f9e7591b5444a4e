"""Plan what to annotate next: `python -m neoseg.plan_annotation run=DIR budget=MINUTES`."""

from neoseg.commands.entry import command

main = command("plan_annotation")

if __name__ == "__main__":
    main()
