"""Draw training patches: `python -m neoseg.sheet +experiment=... augment=... output=x.png`."""

from neoseg.commands.entry import command

main = command("sheet")

if __name__ == "__main__":
    main()
