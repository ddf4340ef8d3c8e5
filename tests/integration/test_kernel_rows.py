"""A real kernel answers the frame of a plot over Jupyter's own messages, as a notebook's page sends them."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from quantkit.report.kernel import TARGET

TESTS = Path(__file__).parents[1]
CODE = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from report_runs import run, store
from quantkit.report.page import page
page.ROWS_MAX = 500
result = run(store(Path("data"), days=1))
output = result.plot()._repr_html_()
script = output[output.index("<script>"):]
print(script[script.rindex("("):])
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_a_kernel_answers_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as Jupyter Server names it, and sends the rows of the span."""
    manager_module = pytest.importorskip("jupyter_client.manager", reason="jupyter_client is not installed")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    name = str(uuid4())
    connection = tmp_path / f"kernel-{name}.json"
    manager = manager_module.KernelManager(kernel_name="python3", connection_file=str(connection))
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        said: list[str] = []
        client.execute_interactive(CODE, timeout=60, output_hook=lambda message: said.append(words_of(message)))
        assert f'"kernel": "{name}"' in "".join(said)
        plot = "".join(said).partition('"plot": "')[2].partition('"')[0]
        send(client, "comm_open", {"comm_id": "c1", "target_name": TARGET, "data": {}})
        asked = {"plot": plot, "ask": 1, "place": 0, "from": 0, "to": 4 * 10**12, "buckets": 2_000}
        send(client, "comm_msg", {"comm_id": "c1", "data": asked})
        data = answer_of(client)
        assert data["rows"]["count"] == 1_440
        assert data["rows"]["rows"]["close"]["n"] == 1_440
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def words_of(message: Any) -> str:
    return message["content"].get("text") or "\n".join(message["content"].get("traceback", ()))


def send(client: Any, kind: str, content: dict[str, Any]) -> None:
    client.shell_channel.send(client.session.msg(kind, content))


def answer_of(client: Any) -> Any:
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["header"]["msg_type"] == "comm_msg":
            return message["content"]["data"]
