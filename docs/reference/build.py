"""Builds the reference of the public names from their docstrings: `python docs/reference/build.py [FOLDER]`."""

import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

import quantkit

#: The package's own names, and the modules that users import from besides.
MODULES = ("quantkit", "quantkit.indicators", "quantkit.storage.catalog")
HERE = Path(__file__).parent


def build(folder: Path) -> Path:
    """Write the pages and return the first one.

    Raises:
        Warning: A docstring or an annotation cannot be shown as it stands.
    """
    footer = f"quantkit {quantkit.__version__}"
    pdoc.render.configure(docformat="google", template_directory=HERE, show_source=False, footer_text=footer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # pandas knows the types of its columns only while types are checked; the annotation is shown as it is written.
        warnings.filterwarnings("ignore", "Error parsing type annotation .*'Series' is not subscriptable")
        # In a clone the package lies beside its installation, and the installed one is meant.
        warnings.filterwarnings("ignore", ".* may refer to either the installed Python module or the local")
        pdoc.pdoc(*MODULES, output_directory=folder)
    return folder / "index.html"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[1] / "build" / "reference"
    print(build(target))
