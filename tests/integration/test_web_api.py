"""The JSON API over a folder of runs: the same numbers and rows as the result has, in JSON and in Arrow."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from web_client import Reply, ask, with_token
from web_runs import DATA, one_run

from quantkit.clock import NS_PER_MS, iso_of
from quantkit.report.page.packing import unpack
from quantkit.report.result import Result
from quantkit.runs.folder import Runs
from quantkit.web.api import ARROW
from quantkit.web.calls import TABLES, Calls
from quantkit.web.server import WebServer

RUN = "/api/v1/runs/ma_cross"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return one_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def server(result: Result) -> Iterator[WebServer]:
    assert result.saved_to is not None
    one_run(result.saved_to.parent, fast=5, name="faster")
    with WebServer(Calls(Runs(result.saved_to.parent), DATA)) as running:
        yield running


def get(server: WebServer, path: str, **headers: str) -> Reply:
    return ask(server, "GET", path, with_token(server, **headers))


def test_runs_are_listed_and_found(server: WebServer) -> None:
    """By every word of a search, in any case, over name, parameters and hash."""
    listed = get(server, "/api/v1/runs").json
    assert (listed["total"], {run["id"] for run in listed["runs"]}) == (2, {"ma_cross", "faster"})
    for search, count in (("MACROSS", 2), ("macross+fast=5", 1), ("macross+nothing", 0), ("", 2)):
        assert get(server, f"/api/v1/runs?search={search}").json["total"] == count
    assert get(server, "/api/v1/runs?offset=2").json == {"total": 2, "runs": [], "notes": []}


def test_a_run_says_what_it_assumed(server: WebServer, result: Result) -> None:
    """Words, configuration, hash, and how long its tables are."""
    run = get(server, RUN).json
    assert run["assumptions"] == result.assumptions
    assert run["warnings"] == result.warnings
    assert run["config"] == json.loads(msgspec.json.encode(result.config))
    assert (run["run"]["hash"], run["run"]["start"]) == (result.hash, "2025-05-10T00:00:00Z")
    assert run["rows"] == {name: len(getattr(result, name)) for name in TABLES}
    assert run["rows"]["fills"] > 0


def test_numbers_are_those_of_the_result(server: WebServer, result: Result) -> None:
    """Each with its meaning; none is NaN."""
    numbers = {each["key"]: each for each in get(server, f"{RUN}/stats").json}
    assert set(numbers) == set(result.numbers)
    assert numbers["return_pct"]["value"] == result.numbers["return_pct"]
    assert numbers["start"]["value"] == "2025-05-10T00:00:00Z" or numbers["start"]["value"].startswith("2025-05-10T")
    assert numbers["duration"]["value"] == 4 * 86_400
    assert all(each["meaning"] and each["label"] and each["group"] for each in numbers.values())


@pytest.mark.parametrize("name", TABLES)
def test_tables_come_whole_as_arrow(server: WebServer, result: Result, name: str) -> None:
    """Every row and every column, exactly."""
    reply = get(server, f"{RUN}/tables/{name}", Accept=ARROW)
    assert reply.headers["content-type"] == ARROW
    found = pa.ipc.open_stream(reply.body).read_all().to_pandas()
    wanted: Any = getattr(result, name)
    frame = wanted.to_frame() if isinstance(wanted, pd.Series) else wanted
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_rows_come_in_pages_as_json(server: WebServer, result: Result) -> None:
    """The pages together are the table."""
    total = len(result.fills)
    pages = [get(server, f"{RUN}/tables/fills?offset={offset}&limit=3").json for offset in range(0, total, 3)]
    assert {page["total"] for page in pages} == {total}
    rows = [row for page in pages for row in page["rows"]]
    assert [row["id"] for row in rows] == result.fills["id"].tolist()
    assert [row["price"] for row in rows] == result.fills["price"].tolist()
    assert rows[0]["time"] == iso_of(result.outcome.fills[0].filled_ns)


def test_what_is_no_number_is_null(server: WebServer, result: Result) -> None:
    """An order at the market has no price."""
    rows = get(server, f"{RUN}/tables/orders?limit=1000").json["rows"]
    wanted = [None if math.isnan(price) else price for price in result.orders["price"].tolist()]
    assert [row["price"] for row in rows] == wanted
    assert None in wanted


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/runs/unknown", 404),
        ("/api/v1/runs/unknown/tables/fills", 404),
        (f"{RUN}/tables/nothing", 400),
        (f"{RUN}/tables/fills?limit=0", 400),
        (f"{RUN}/tables/fills?limit=1001", 400),
        (f"{RUN}/tables/fills?offset=-1", 400),
        (f"{RUN}/tables/fills?limit=1&limit=2", 400),
        (f"{RUN}/tables/fills?unknown=1", 400),
        (f"{RUN}?unknown=1", 400),
        ("/api/v1/diff?a=ma_cross", 400),
        ("/api/v1/diff?a=ma_cross&b=unknown", 404),
        ("/api/v1/nothing", 404),
    ],
)
def test_wrong_requests_get_one_line(server: WebServer, path: str, status: int) -> None:
    reply = get(server, path)
    assert reply.status == status
    assert len(reply.json["error"].splitlines()) == 1


def test_a_method_that_is_not_there(server: WebServer) -> None:
    reply = ask(server, "POST", "/api/v1/runs", with_token(server, Content_Type="application/json"), b"{}")
    assert (reply.status, sorted(reply.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


def test_a_damaged_result_is_told(server: WebServer, result: Result, tmp_path: Path) -> None:
    """What the files are damaged by stands in one line."""
    folder = tmp_path / "damaged"
    result.save(folder)
    with (folder / "fills.parquet").open("ab") as file:
        file.write(b"x")
    with WebServer(Calls(Runs(tmp_path), DATA)) as other:
        reply = get(other, "/api/v1/runs/damaged")
        assert (reply.status, "was changed" in reply.json["error"]) == (422, True)


def test_data_are_listed(server: WebServer) -> None:
    streams = get(server, "/api/v1/data?search=btc-usdt-swap").json["streams"]
    assert {each["instrument"] for each in streams} == {"binance:BTC-USDT-SWAP"}


def test_two_runs_are_compared(server: WebServer, result: Result) -> None:
    """Numbers, parameters, and the first order that differs."""
    same = get(server, "/api/v1/diff?a=ma_cross&b=ma_cross").json
    assert (same["is_same_result"], same["order"]) == (True, None)
    other = get(server, "/api/v1/diff?a=ma_cross&b=faster").json
    assert other["parameters"] == [{"name": "fast", "a": 10, "b": 5}]
    assert other["is_same_result"] is False
    assert other["order"]["number"] >= 1
    assert other["a"]["hash"] == result.hash


# Pictures -----------------------------------------------------------------------------------------------------------


def instrument_of(result: Result) -> str:
    return result.prices.instruments[0]


def test_few_rows_come_one_by_one(server: WebServer, result: Result) -> None:
    """Exactly those of the run, within the span, both ends included."""
    rows = result.prices.rows(instrument_of(result))
    stamps = rows.time_ns // NS_PER_MS
    path = f"{RUN}/prices/{quote(instrument_of(result))}?from={stamps[100]}&to={stamps[149]}&buckets=50"
    answer = get(server, path).json
    assert (answer["count"], "buckets" in answer) == (50, False)
    assert unpack(answer["rows"]["t"]).tolist() == stamps[100:150].tolist()
    assert unpack(answer["rows"]["close"]).tolist() == rows.close[100:150].tolist()


def test_many_rows_come_as_extremes(server: WebServer, result: Result) -> None:
    """In as many buckets as asked for at most, and with the highest and the lowest price of all."""
    rows = result.prices.rows(instrument_of(result))
    path = f"{RUN}/prices/{quote(instrument_of(result))}?from=0&to=9000000000000&buckets=100"
    answer = get(server, path).json
    assert (answer["count"], "rows" in answer) == (len(rows), False)
    low = unpack(answer["buckets"]["low"])
    high = low + unpack(answer["buckets"]["rise"])
    assert 50 < len(low) <= 100
    assert low.min() == pytest.approx(rows.low.min(), abs=1e-9)
    assert high.max() == pytest.approx(rows.high.max(), abs=1e-9)


def test_an_instrument_that_is_not_there(server: WebServer) -> None:
    reply = get(server, f"{RUN}/prices/../../etc/passwd?from=0&to=1")
    assert reply.status == 404
    reply = get(server, f"{RUN}/prices/no%2Fsuch?from=0&to=1")
    assert (reply.status, "no/such is no instrument" in reply.json["error"]) == (404, True)


def test_the_equity_loses_no_trough(server: WebServer, result: Result) -> None:
    line = get(server, f"{RUN}/equity?buckets=20").json
    curve, start = result.outcome.curve, float(result.outcome.starting_equity)
    assert len(line["time_ms"]) == len(line["change_pct"]) <= 42
    assert min(line["change_pct"]) == 100 * (curve.equity.min() / start - 1)
    assert line["change_pct"][-1] == pytest.approx(result.numbers["return_pct"])


def test_the_description_is_openapi(server: WebServer) -> None:
    """Every operation with its parameters, its types and what it refuses."""
    description = get(server, "/api/v1/openapi.json").json
    assert description["openapi"] == "3.1.0"
    table = description["paths"]["/api/v1/runs/{run}/tables/{table}"]["get"]
    assert {each["name"] for each in table["parameters"]} == {"run", "table", "limit", "offset", "format"}
    assert ARROW in table["responses"]["200"]["content"]
    for path in description["paths"].values():
        for operation in path.values():
            assert operation["summary"].endswith(".")
            assert "401" in operation["responses"]
