"""Write a label table to edit: `python -m neoseg.labels from=dataset.json output=labels.yaml`."""

from neoseg.commands.entry import command

main = command("labels")

if __name__ == "__main__":
    main()
