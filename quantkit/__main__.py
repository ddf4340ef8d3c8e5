"""`python -m quantkit`: the command line without its script."""

from quantkit.cli import main

if __name__ == "__main__":
    main(prog_name="quantkit")
