"""Make label files of masks: `python -m neoseg.combine_masks labels=... masks=... output=DIR`."""

from neoseg.commands.entry import command

main = command("combine_masks")

if __name__ == "__main__":
    main()
