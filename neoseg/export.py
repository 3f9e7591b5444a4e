"""Export trained networks to one file: `python -m neoseg.export run=DIR output=model.neoseg`."""

from neoseg.commands.entry import command

main = command("export")

if __name__ == "__main__":
    main()
