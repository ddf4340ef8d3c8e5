"""Every notebook runs top to bottom on the sample data, and is kept without outputs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(file: Path) -> Any:
    """Return a notebook, checked against its format."""
    notebook = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return notebook


def test_there_is_one() -> None:
    """Nothing below runs over an empty list."""
    assert "first_steps" in {file.stem for file in NOTEBOOKS}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_kept_without_outputs(file: Path) -> None:
    """Results belong to whoever runs it; a diff shows what a person wrote."""
    for cell in read(file).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
# Jupyter's own start-up code warns about event loops and its paths; our code's warnings stay errors.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_it_runs_top_to_bottom(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Started in its own folder, as Jupyter does, with a kernel of this environment; a cell that raises fails here."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PYTHONWARNINGS", "error:::__main__")
    notebook = read(file)
    resources = {"metadata": {"path": str(file.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    # A result shows itself as a page, not as the name of a class.
    shown = [output.data for cell in code for output in cell.outputs if output.output_type == "execute_result"]
    assert any("<svg" in data.get("text/html", "") for data in shown)
    texts = [output for cell in code for output in cell.outputs if output.output_type == "stream"]
    assert [output.text for output in texts if output.name == "stderr"] == []
