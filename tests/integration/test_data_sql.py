"""`quantkit data sql` and Polars: the rows that are there, no other file, and nothing written."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from counted_files import CountedFolder

import quantkit as qk
from quantkit.cli import main
from quantkit.research.catalog import Catalog
from quantkit.research.sql import sql

duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install 'quantkit[ci]'")
polars = pytest.importorskip("polars", reason="Polars is not installed: pip install 'quantkit[ci]'")

DATA = Path(__file__).resolve().parents[2] / "data"
BTC = "binance:BTC-USDT-SWAP"


def ask(question: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["data", "sql", question, str(DATA), *options])


def test_an_answer_is_that_of_the_rows() -> None:
    """Counted once more by the replay's reader; stamps keep their nanoseconds."""
    frame = qk.Catalog(DATA).trades(BTC).pandas()
    question = f"select count(*) n, sum(qty) qty, min(received_ns) first from trade where instrument = '{BTC}'"
    (row,) = json.loads(ask(question, "--json").output)
    assert row["n"] == len(frame)
    assert row["qty"] == pytest.approx(frame["qty"].sum())
    assert row["first"] == "2024-08-08T23:54:16.361578835Z"


def test_a_question_opens_the_files_that_it_needs() -> None:
    """Of the instrument and the interval, by the manifest."""
    counted = CountedFolder(DATA)
    catalog = Catalog(counted.root)
    table = sql(catalog, f"select max(high) m from candle where instrument = '{BTC}' and open_ns < '2025-05-06'")
    assert table.to_pylist()[0]["m"] > 90_000
    opened = {path.partition(str(DATA))[2] for path, _ in counted.reads} - {"/manifest.jsonl"}
    folder = "/exchange=binance/kind=candle/interval=1m/instrument=BTC-USDT-SWAP"
    assert {path.rpartition("/month=")[0] for path in opened} == {folder}


def test_answers_print_as_a_table_and_as_csv() -> None:
    question = "select instrument, count(*) as n from trade group by all order by n desc"
    table = ask(question).output
    assert table.splitlines()[0].split() == ["instrument", "n"]
    assert table.splitlines()[1].split() == [BTC, "21313"]
    rows = list(csv.DictReader(StringIO(ask(question, "--csv").output)))
    assert rows[0] == {"instrument": BTC, "n": "21313"}
    long = ask("select price from trade").output
    assert "more rows; --csv or --json print all of them" in long


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("copy (select 1) to 'x.csv'", "nothing else; given is COPY"),
        ("create table x as select 1", "given is CREATE"),
        ("attach 'x.db'", "given is ATTACH"),
        ("install httpfs", "given is LOAD"),
        ("set enable_external_access = true", "given is SET"),
        ("select 1; select 2", "given is SELECT, SELECT"),
        ("explain analyze copy (select 1) to 'x.csv'", "given is EXPLAIN"),
        ("", "given is nothing"),
        ("select * from read_csv('/etc/passwd')", "Permission Error"),
        ("select * from read_parquet('**/*.parquet')", "Permission Error"),
        ("select * from glob('/*')", "Permission Error"),
        ("select * from '/etc/passwd'", "does not exist"),
        ("select * from catalog", "does not exist!; there is book, candle"),
        ("select nope from trade", "nope"),
        ("selec", "syntax error"),
    ],
)
def test_nothing_is_written_and_nothing_else_is_read(
    question: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = ask(question)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


def test_the_views_describe_themselves() -> None:
    names = {row["name"] for row in json.loads(ask("show tables", "--json").output)}
    assert {"trade", "candle", "book", "ticker", "instrument"} <= names
    columns = [row["column_name"] for row in json.loads(ask("describe candle", "--json").output)]
    assert columns[-2:] == ["instrument", "interval"]


def test_polars_reads_the_same_at_once_and_lazily() -> None:
    query = qk.Catalog(DATA).trades(BTC, "2024-08-08T23:55", "2024-08-08T23:56", columns=["price", "side", "qty"])
    table = query.arrow()
    assert table.num_rows > 100
    assert query.polars()["qty"].to_list() == table.column("qty").to_pylist()
    lazy = polars.scan_pyarrow_dataset(query.scan())
    assert lazy.select("qty").sum().collect().item() == pytest.approx(sum(table.column("qty").to_pylist()))


def test_duckdb_takes_a_scan() -> None:
    trades = qk.Catalog(DATA).trades(BTC).scan()
    with duckdb.connect() as connection:
        connection.register("trades", trades)
        assert connection.sql("select count(*) from trades where side = 'buy'").fetchall()[0][0] > 1_000
