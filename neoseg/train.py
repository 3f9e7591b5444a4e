"""Train a segmentation network: `python -m neoseg.train +experiment=partial_superclass`."""

from neoseg.commands.entry import command

main = command("train", keep_going=True)

if __name__ == "__main__":
    main()
