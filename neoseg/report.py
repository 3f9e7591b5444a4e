"""Write tables, figures and one page over runs: `python -m neoseg.report runs=DIR output=DIR`."""

from neoseg.commands.entry import command

main = command("report")

if __name__ == "__main__":
    main()
