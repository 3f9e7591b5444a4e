"""Learn what a run's answers are worth: `python -m neoseg.calibrate run=DIR [part=val]`."""

from neoseg.commands.entry import command

main = command("calibrate")

if __name__ == "__main__":
    main()
