"""Make a W&B dashboard over a sweep: `python -m neoseg.dashboard sweep=NAME`."""

from neoseg.commands.entry import command

main = command("dashboard")

if __name__ == "__main__":
    main()
