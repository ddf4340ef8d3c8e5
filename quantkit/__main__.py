"""`python -m quantkit`: the command line without its script."""

from quantkit.cli.start import run

if __name__ == "__main__":
    run()
