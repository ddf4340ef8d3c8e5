"""The public names: sorted, importable, documented, and free of charge until they are used."""

import importlib
import inspect
import subprocess
import sys

import pytest

import quantkit

HEAVY = ("bokeh", "numpy", "pandas", "pyarrow")


def test_the_list_is_sorted_and_holds_no_name_twice() -> None:
    """So that a diff shows what was added."""
    assert quantkit.__all__ == sorted(set(quantkit.__all__))


def test_the_list_is_what_the_package_can_load() -> None:
    """Every name has a home, and `dir` and a star import give the same."""
    assert set(quantkit._HOMES) == set(quantkit.__all__)
    assert set(quantkit.__all__) <= set(dir(quantkit))
    names: dict[str, object] = {}
    exec("from quantkit import *", names)  # noqa: S102  a star import stands at the top of a module only
    assert set(quantkit.__all__) <= set(names)


@pytest.mark.parametrize("name", quantkit.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    """It is the same object as in its home, and says what it is."""
    value = getattr(quantkit, name)
    assert value is getattr(importlib.import_module(quantkit._HOMES[name]), name)
    said = inspect.getdoc(value)
    assert said
    assert said.splitlines()[0].endswith((".", ":"))
    for method, member in vars(value).items() if inspect.isclass(value) else ():
        if not method.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            assert inspect.getdoc(member), f"{name}.{method} is not documented"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As with any module."""
    with pytest.raises(AttributeError, match="module 'quantkit' has no attribute 'Backtest'"):
        quantkit.Backtest  # type: ignore[attr-defined]
    assert not hasattr(quantkit, "numpy")


@pytest.mark.parametrize(
    "code",
    [
        "import quantkit; quantkit.__version__; dir(quantkit)",
        "from quantkit.cli import main; main(['--help'], standalone_mode=False)",
        "from quantkit.cli import main; main(['backtest', '--help'], standalone_mode=False)",
        "import quantkit; quantkit.ConfigError",
    ],
)
def test_importing_and_asking_for_help_load_nothing_heavy(code: str) -> None:
    """What takes long to import waits until it is needed."""
    code = f"{code}\nimport sys\nprint('loaded', [name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert done.stderr == ""


def test_the_version_is_the_installed_one() -> None:
    """One number, wherever it is asked for."""
    from importlib.metadata import version

    assert quantkit.__version__ == version("quantkit")
