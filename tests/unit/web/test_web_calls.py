"""What the API asks of a folder of runs."""

import zipfile
from pathlib import Path

from web_runs import DATA, ROOT, one_run

from quantkit.runs.folder import Runs
from quantkit.web.calls import Calls


def test_a_live_runs_result_has_its_code(tmp_path: Path) -> None:
    """The copy in the run's folder, as `Runs.load` gives it, so that a comparison in the browser shows it too."""
    run = tmp_path / "Recorded-20261129-183855"
    with zipfile.ZipFile(ROOT / "tests" / "data" / "runs" / "0.2.0.zip") as packed:
        packed.extractall(run)
    one_run(run, name="result")
    (run / "strategy").mkdir(exist_ok=True)
    (run / "strategy" / "mine.py").write_bytes(b"# mine\n")
    found = Calls(Runs(tmp_path), DATA).result(run.name)
    assert found.sources["mine.py"] == b"# mine\n"
    assert found.sources == Runs(tmp_path).load(run.name).sources
