"""Plan settings that fit the data: `python -m neoseg.plan cohort=... output=plan.yaml`."""

from neoseg.commands.entry import command

main = command("plan")

if __name__ == "__main__":
    main()
