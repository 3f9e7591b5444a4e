"""Fit volumes against age: `python -m neoseg.growth volumes=DIR ages=TREE output=growth.json`."""

from neoseg.commands.entry import command

main = command("growth")

if __name__ == "__main__":
    main()
