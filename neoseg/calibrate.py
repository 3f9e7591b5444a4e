"""Calibrate the confidence of a trained run: `python -m neoseg.calibrate run=DIR [part=val]`."""

from neoseg.commands.entry import command

main = command("calibrate")

if __name__ == "__main__":
    main()
