"""Results outlive versions: old ones load with the hash they were saved with, and a record that grows changes none."""

import hashlib
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from rich.console import Console

from quantkit.engine.outcome import EquityCurve, Outcome
from quantkit.errors import DataError
from quantkit.report import archive, summary
from quantkit.report.archive import FORMAT_VERSION, FORMATS, UNGUARDED
from quantkit.report.digest import ENCODING, ENCODINGS, result_hash
from quantkit.report.result import Result

ROOT = Path(__file__).parents[3]
MADE_BY = ROOT / "tests" / "data" / "make_saved_result.py"
SAVED = ROOT / "tests" / "data" / "saved"
#: Of the run that `make_saved_result.py` makes, by version; the table in the folder's README has them as well.
HASHES = {
    "0.1.0": (1, "9fde855e394c554def02debfb8a48ecd1051a8983dffbd799dd82f9e44f454ef"),
    "0.2.0": (2, "30ced0e8b109ba682a8ceb756b8a5638965681b32039c3f8143286e78518cb39"),
    "0.4.0": (3, "9bcc966276d5974333415610d45e9aa1a1dce9642be44702f3f9449ae14f85b0"),
}


@pytest.mark.parametrize("version", HASHES)
def test_a_result_of_each_version_loads(version: str) -> None:
    """Its hash is the one it was saved with; numbers, tables and the report can be read."""
    number, digest = HASHES[version]
    manifest = msgspec.json.decode((SAVED / version / "manifest.json").read_bytes())
    assert (manifest["format_version"], manifest["versions"]["quantkit"]) == (number, version)
    result = Result.load(SAVED / version)
    assert (result.hash, result.manifest["hash"], result.manifest["hash_encoding"]) == (
        digest,
        manifest["hash"],
        manifest["hash_encoding"],
    )
    assert (UNGUARDED in result.warnings) is (number == 1)
    assert (len(result.orders), len(result.fills), len(result.round_trips)) == (28, 22, 10)
    assert result.orders["state"].value_counts().to_dict() == {"filled": 18, "cancelled": 10}
    assert result.orders["stop_price"].notna().sum() == 8
    assert result.stats["equity_final"] == pytest.approx(100_088.6524249)
    assert len(result.returns) == 2
    is_new = number >= 3
    assert (result.outcome.daily_marks != []) is is_new
    assert result.config["seed"] == 7
    console = Console(file=StringIO(), width=120)
    summary.render(result, console)
    assert "100,088.65" in console.file.getvalue()  # type: ignore[attr-defined]
    assert digest in summary.as_json(result).decode()


def test_the_third_format_brings_prices_and_days() -> None:
    """A saved run is drawn from its own folder; what it was held against is known from day to day."""
    result = Result.load(SAVED / "0.4.0")
    assert {name: len(result.prices.rows(name)) for name in result.prices.instruments} == {
        "binance:BTC-USDT-SWAP": 1_081,
        "binance:ETH-USDT-SWAP": 1_081,
    }
    assert result.buy_and_hold.keys() == {"binance:BTC-USDT-SWAP", "binance:ETH-USDT-SWAP"}
    assert result.funding.empty


@pytest.mark.parametrize("version", HASHES)
def test_an_old_result_keeps_its_hash_when_it_is_saved_anew(version: str, tmp_path: Path) -> None:
    """In today's format, which guards it, and with the encoding it was hashed by."""
    old = Result.load(SAVED / version)
    again = Result.load(old.save(tmp_path / "again"))
    assert (again.hash, again.manifest["hash_encoding"]) == (old.hash, old.manifest["hash_encoding"])
    assert again.warnings == [warning for warning in old.warnings if warning != UNGUARDED]
    pd.testing.assert_frame_equal(again.equity, old.equity, check_freq=False)


@pytest.mark.parametrize("version", HASHES)
def test_the_layouts_are_those_of_the_files(version: str) -> None:
    """What a released version wrote is what its layout names, no more and no less."""
    folder = SAVED / version
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    layout = FORMATS[manifest["format_version"]]
    for name, fields in layout.records.items():
        columns = pd.read_parquet(folder / f"{name}.parquet").columns
        assert tuple(column for column in columns if not column.endswith("_exact")) == fields, name
    assert tuple(pd.read_parquet(folder / "equity.parquet").columns) == layout.curve
    assert set(manifest["ledger"]) == set(layout.ledger)


def test_nothing_is_lost_by_the_newest_format() -> None:
    """A record that grows needs the next format: without it a saved result would forget the new field."""
    newest = FORMATS[FORMAT_VERSION]
    for name, kind in archive._RECORDS.items():
        assert set(newest.records[name]) == set(kind.__struct_fields__), f"{name}: name the new field in a new format"
    assert {"time_ns", *newest.curve} == set(EquityCurve.__struct_fields__)
    whole = {*newest.records, *newest.ledger, *archive._WORDS, "curve"}
    assert whole == set(Outcome.__struct_fields__)


def grown(kind: type[msgspec.Struct]) -> Any:
    """Return a kind of record with one field more."""
    return msgspec.defstruct(
        kind.__name__, [("venue", str, "nowhere")], bases=(kind,), frozen=True, kw_only=True, eq=False
    )


def with_more(record: Any) -> Any:
    """Return a record of the grown kind, the new field not at its default."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return grown(type(record))(**fields, venue="somewhere")


def test_a_field_more_changes_no_hash(result: Result) -> None:
    """On every kind of record, on the curve and on the outcome, in every encoding there ever was."""
    whole = result.outcome
    fields: dict[str, Any] = {name: [with_more(item) for item in getattr(whole, name)] for name in archive._RECORDS}
    more = with_more(msgspec.structs.replace(whole, **fields, curve=with_more(whole.curve)))
    assert (more.venue, more.fills[0].venue, more.curve.venue) == ("somewhere",) * 3
    for encoding in ENCODINGS:
        assert result_hash(more, encoding) == result_hash(whole, encoding)


def test_old_results_load_into_grown_records(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not saved gets its default, in results of all versions."""
    now = result.save(tmp_path / "now")
    monkeypatch.setattr(archive, "_RECORDS", {name: grown(kind) for name, kind in archive._RECORDS.items()})
    monkeypatch.setattr(archive, "Outcome", grown(Outcome))
    monkeypatch.setattr(archive, "EquityCurve", grown(EquityCurve))
    for folder in (now, *(SAVED / version for version in HASHES)):
        outcome: Any = Result.load(folder).outcome
        assert {item.venue for name in archive._RECORDS for item in getattr(outcome, name)} == {"nowhere"}
        assert (outcome.venue, outcome.curve.venue) == ("nowhere", "nowhere")


_WITH_A_GROWN_ORDER = """
import runpy, sys
from quantkit import orders

class Order(orders.Order, frozen=True, kw_only=True, eq=False):
    venue: str = "nowhere"

orders.Order = Order  # before anything else has imported it
made = runpy.run_path(sys.argv[1])
result = made["run"](made["EveryOrder"](), sys.argv[2])
assert {order.venue for order in result.outcome.orders} == {"nowhere"}
from quantkit.report.digest import result_hash
print(result_hash(result.outcome, "quantkit-result-1"))
"""


def test_a_run_with_a_grown_order_gives_the_same_hash() -> None:
    """The engine, the simulated exchange and the hash of then, in a process of its own."""
    command = [sys.executable, "-c", _WITH_A_GROWN_ORDER, str(MADE_BY), str(ROOT / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [HASHES["0.2.0"][1]]


def test_a_field_that_every_result_has_must_be_there(result: Result, tmp_path: Path) -> None:
    """Only what has a default may be missing."""
    run = result.save(tmp_path / "run")
    frame = pd.read_parquet(run / "orders.parquet")
    frame.drop(columns="note").to_parquet(run / "orders.parquet")
    rewrite_digest(run, "orders.parquet")
    assert {order.note for order in Result.load(run).outcome.orders} == {""}
    frame.drop(columns="qty").to_parquet(run / "orders.parquet")
    rewrite_digest(run, "orders.parquet")
    with pytest.raises(DataError, match=r"the saved result is damaged \(KeyError: 'qty'\)"):
        Result.load(run)


def rewrite_digest(run: Path, name: str) -> None:
    """Make the manifest one of version 1, which has no digest of itself, and renew a table's."""
    manifest = msgspec.json.decode((run / "manifest.json").read_bytes())
    manifest.pop("manifest_sha256", None)
    manifest["format_version"] = 1
    manifest["files"][name]["sha256"] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    (run / "manifest.json").write_bytes(msgspec.json.encode(manifest))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format_version": FORMAT_VERSION + 1}, f"has format version {FORMAT_VERSION + 1}; this quantkit reads up to"),
        ({"hash_encoding": "quantkit-result-99"}, "its hash has the encoding 'quantkit-result-99', which this"),
        ({"hash_encoding": ["x"]}, "its hash has the encoding ['x'], which this"),
    ],
)
def test_what_is_newer_is_refused_in_one_line(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    """It says what to do."""
    run = shutil.copytree(SAVED / "0.1.0", tmp_path / "run")
    manifest = msgspec.json.decode((run / "manifest.json").read_bytes())
    (run / "manifest.json").write_bytes(msgspec.json.encode({**manifest, **change}))
    with pytest.raises(DataError) as caught:
        Result.load(run)
    assert told in str(caught.value)
    assert str(caught.value).endswith("update it")
    assert "\n" not in str(caught.value)


def test_a_hash_of_a_newer_encoding_cannot_be_compared(result: Result) -> None:
    """As in the log of a recorded run."""
    with pytest.raises(DataError, match="a hash has the encoding 'quantkit-result-99', which this quantkit does not"):
        result_hash(result.outcome, "quantkit-result-99")


def test_new_results_have_the_newest_encoding(result: Result) -> None:
    """And it is a known one."""
    assert result.manifest["hash_encoding"] == ENCODING == list(ENCODINGS)[-1]
