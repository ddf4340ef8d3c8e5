"""The API keeps to its own description: schemathesis makes up requests, right and wrong, and checks answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from web_runs import DATA, no_runs, one_run

from quantkit.runs.folder import Runs
from quantkit.web.access import Admission, BrowserSessions, Lockout
from quantkit.web.api import Api
from quantkit.web.calls import Calls
from quantkit.web.operations import PREFIX, Operation, Workers
from quantkit.web.security import Site
from quantkit.web.server import WebServer

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'quantkit[ci]'")
pytestmark = pytest.mark.service


def every_operation() -> list[Operation]:
    api = Api(no_runs(), Site.of("127.0.0.1", 80), Admission("t" * 32, BrowserSessions(None)), None, Workers())
    return [operation for operation, _ in api.operations()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("runs")
    one_run(folder)
    with WebServer(Calls(Runs(folder), DATA)) as running:
        yield running


@pytest.fixture(scope="module")
def described(server: WebServer) -> Any:
    """The description as the running server gives it."""
    return schemathesis.openapi.from_url(f"{server.url}{PREFIX}/openapi.json", headers=token_of(server))


def token_of(server: WebServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token}"}


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", every_operation(), ids=lambda operation: operation.name)
def test_answers_are_as_described(
    described: Any, server: WebServer, operation: Operation, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statuses, types of content, bodies; and what is wrong by the description is refused."""
    # Wrong tokens are made up as well; how long they wait is tested elsewhere.
    monkeypatch.setattr(Lockout, "failed", lambda *_: None)
    found = described[PREFIX + operation.path][operation.method]

    @given(case=found.as_strategy(generation_mode=mode))
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(case: Any) -> None:
        # An empty list leaves no trace in a URL: what is wrong with it is not sent.
        assume(all(value not in ([], {}, None) for value in (case.query or {}).values()))
        case.call_and_validate(headers=token_of(server), timeout=20)

    check()
