"""A result saved and loaded: equal tables, one hash, all or nothing, and damage that is noticed."""

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest
from campaign import scaled
from damage import flipped
from handmade_run import make_outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.brokers.unprotected import Unprotected
from quantkit.engine.outcome import EquityCurve, OrderEvent
from quantkit.errors import ConfigError, DataError
from quantkit.orders import OrderState, OrderTerms, PositionSide, StopLoss, TimeInForce, TriggerType
from quantkit.report import archive, digest
from quantkit.report.digest import ENCODINGS, canonical, canonical_lines, result_hash
from quantkit.report.result import Result
from quantkit.report.summary import json_stats
from quantkit.storage.segments import try_lock

TABLES = ["orders", "order_events", "fills", "equity", "round_trips", "open_trips"]


def as_values(outcome: Any) -> list[Any]:
    """Return an outcome's fields with arrays as lists, since orders compare by identity."""
    fields = msgspec.structs.asdict(outcome)
    curve = msgspec.structs.asdict(fields.pop("curve"))
    records = {k: [msgspec.structs.asdict(x) for x in fields.pop(k)] for k in archive._RECORDS}
    return [fields, records, {k: (v.dtype, v.tolist()) for k, v in curve.items()}]


def test_load_gives_equal_tables(result: Result, tmp_path: Path) -> None:
    """Every record, table and number comes back, to the last digit."""
    assert result.save(tmp_path / "run") == tmp_path / "run"
    loaded = Result.load(tmp_path / "run")
    assert as_values(loaded.outcome) == as_values(result.outcome)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(result, name), check_freq=False)
    pd.testing.assert_series_equal(loaded.returns, result.returns)
    assert loaded.numbers == result.numbers
    assert loaded.hash == result.hash
    assert loaded.manifest == result.manifest
    assert loaded.instruments == result.instruments
    assert (loaded.saved_to, result.saved_to) == (tmp_path / "run", tmp_path / "run")


def test_what_few_orders_have_comes_back(result_of: Callable[..., Result], tmp_path: Path) -> None:
    """The terms of orders, and a plain order without any beside them; the tables show each as a column."""
    terms = OrderTerms(
        take_profit_price=0.1 + 0.2,
        trigger_type=TriggerType.MARK,
        expire_ns=1_767_225_600_000_000_001,
        oco_group="exit",
        take_profit_ticks=3,
        stop_loss=StopLoss(trailing_offset_bps=5.0),
    )

    first, *rest = make_outcome().orders
    kept = result_of(orders=[msgspec.structs.replace(first, terms=terms), *rest])
    kept.save(tmp_path / "run")
    loaded = Result.load(tmp_path / "run")
    assert [order.terms for order in loaded.outcome.orders[:2]] == [terms, None]
    pd.testing.assert_frame_equal(loaded.orders, kept.orders, check_freq=False)
    table = loaded.orders
    assert table["take_profit_price"].tolist()[:1] == [0.1 + 0.2]
    assert table["take_profit_price"].isna().tolist()[1:] == [True] * (len(table) - 1)
    assert table["trigger_type"].tolist()[:2] == ["mark", "last"]
    assert table["expire_time"].tolist()[0] == pd.Timestamp(1_767_225_600_000_000_001, tz="UTC")
    assert table["expire_time"].isna().tolist()[1:] == [True] * (len(table) - 1)
    assert table["oco_group"].tolist()[:2] == ["exit", ""]
    assert loaded.hash == kept.hash


def test_terms_and_legs_are_hashed_where_there_are_any() -> None:
    """Each alone makes another hash; without them it is the frozen one."""
    outcome = make_outcome()
    (first, *orders), (fill, *fills) = outcome.orders, outcome.fills
    terms = OrderTerms(oco_group="exit")

    def hashed(**changes: Any) -> str:
        return result_hash(msgspec.structs.replace(outcome, **changes))

    found = [
        hashed(orders=[msgspec.structs.replace(first, terms=terms), *orders]),
        hashed(orders=[msgspec.structs.replace(first, terms=OrderTerms(oco_group="entry")), *orders]),
        hashed(orders=[msgspec.structs.replace(first, position_side=PositionSide.LONG), *orders]),
        hashed(orders=[msgspec.structs.replace(first, position_side=PositionSide.SHORT), *orders]),
        hashed(fills=[msgspec.structs.replace(fill, position_side=PositionSide.LONG), *fills]),
        hashed(),
    ]
    assert len(set(found)) == len(found)
    assert found[-1] == HASHES[digest.ENCODING]


def test_a_blank_result_comes_back(blank_result: Result, tmp_path: Path) -> None:
    """Empty tables keep their types."""
    blank_result.save(tmp_path / "run")
    loaded = Result.load(tmp_path / "run")
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(blank_result, name), check_freq=False)
    assert loaded.hash == blank_result.hash


def test_a_bankrupt_runs_last_row_comes_back(result_of: Callable[..., Result], tmp_path: Path) -> None:
    """Its equity is below nothing and its exposure without bound; its stamp may be that of the row before."""
    curve = EquityCurve(
        time_ns=np.array([0, 60, 60]) + result_of().outcome.start_ns,
        equity=np.array([1000.0, 800.0, -5.0]),
        cash=np.full(3, 1000.0),
        exposure=np.array([4.0, 4.5, np.inf]),
        drawdown=np.array([0.0, -0.2, -1.005]),
    )
    result = result_of(curve=curve, end_ns=int(curve.time_ns[-1]), equity=Decimal(-5), ended="bankrupt")
    result.save(tmp_path / "run")
    loaded = Result.load(tmp_path / "run")
    assert as_values(loaded.outcome) == as_values(result.outcome)
    pd.testing.assert_frame_equal(loaded.equity, result.equity, check_freq=False)
    # The table to look at has each moment once, the file every row.
    assert (len(pd.read_parquet(tmp_path / "run" / "equity.parquet")), len(result.equity)) == (3, 2)
    assert loaded.hash == result.hash


def test_the_waits_of_brackets_come_back(result_of: Callable[..., Result], tmp_path: Path) -> None:
    """With the statistics that they give."""
    result = result_of(unprotected=[Unprotected("bt1", "BTC-USDT-SWAP", 2.0, 5, 25_000_005)])
    result.save(tmp_path / "run")
    loaded = Result.load(tmp_path / "run")
    assert loaded.outcome.unprotected == result.outcome.unprotected
    assert (loaded.stats["unprotected_s"], loaded.stats["unprotected_total_s"]) == (0.025, 0.025)


def test_other_tools_read_the_folder(result: Result, tmp_path: Path) -> None:
    """Plain Parquet and JSON, with digests of the files."""
    result.save(tmp_path / "run")
    names = {
        "orders",
        "order_events",
        "fills",
        "excursions",
        "daily_marks",
        "funding_payments",
        "equity",
        "returns",
        "round_trips",
        "open_trips",
        "unprotected",
    }
    assert {path.name for path in (tmp_path / "run").iterdir()} == {f"{n}.parquet" for n in names} | {"manifest.json"}
    fills = pd.read_parquet(tmp_path / "run" / "fills.parquet")
    assert fills["fee"].dtype == np.float64
    assert fills["fee_exact"].tolist()[0] == "0.05"
    manifest = msgspec.json.decode((tmp_path / "run" / "manifest.json").read_bytes())
    assert manifest["files"]["fills.parquet"]["rows"] == 5
    assert manifest["ledger"]["equity"] == "1012.609"


def test_save_refuses_what_it_would_overwrite(result: Result, tmp_path: Path) -> None:
    """An empty folder is fine, anything else is the user's."""
    (tmp_path / "empty").mkdir()
    result.save(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("mine")
    for taken in ("empty", "notes.txt"):
        with pytest.raises(ConfigError, match=f"{taken} exists already and is not empty"):
            result.save(tmp_path / taken)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_save_leaves_nothing_behind_when_it_fails(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the manifest: no folder, no temporary one either."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot be saved to .*run: No space left"):
        result.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_load_says_what_is_wrong(result: Result, tmp_path: Path) -> None:
    """Each kind of damage is one clear line."""
    run = result.save(tmp_path / "run")
    with pytest.raises(DataError, match=r"holds no saved result: manifest\.json is missing"):
        Result.load(tmp_path)
    manifest = msgspec.json.decode((run / "manifest.json").read_bytes())
    del manifest["manifest_sha256"]

    def rewrite(**changes: Any) -> None:
        rewrite_manifest(run, **{**manifest, "format_version": 1, **changes})

    for version in (99, 0, True, None):
        rewrite(format_version=version)
        with pytest.raises(DataError, match=f"format version {version}; this quantkit reads up to 4, update it"):
            Result.load(run)
    rewrite(format_version=2)
    rewrite(format="zip")
    with pytest.raises(DataError, match="is not the manifest of a quantkit result"):
        Result.load(run)
    rewrite(ledger={**manifest["ledger"], "equity": "9999"})
    with pytest.raises(DataError, match=r"do not give the hash in manifest\.json; a file was changed"):
        Result.load(run)
    files = manifest["files"]
    spoilt: list[dict[str, Any]] = [
        {"ledger": {}},
        {"files": {}},
        {"files": {**files, "fills.parquet": {}}},
        {"config": None},
        {"versions": 7},
        {"instruments": [{}]},
        {"warnings": [1]},
    ]
    for change in spoilt:
        rewrite(**change)
        with pytest.raises(DataError, match="the saved result is damaged"):
            Result.load(run)
    rewrite(files={**files, "../fills.parquet": files["fills.parquet"]})
    with pytest.raises(DataError, match=r"\.\./fills\.parquet is missing though manifest\.json lists it"):
        Result.load(run)
    for content in (b"\xff{", b"[" * 100_000):
        (run / "manifest.json").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            Result.load(run)


def rewrite_manifest(run: Path, *, version: int = 1, **changes: Any) -> None:
    """Change a manifest as somebody could who knows its digest, or as version 1 wrote it, which had none."""
    manifest = msgspec.json.decode((run / "manifest.json").read_bytes())
    manifest.pop("manifest_sha256", None)
    covered = msgspec.json.encode({**manifest, "format_version": version, **changes})[1:]
    start = b"{"
    if version > 1:
        start = b'{\n  "manifest_sha256": "%b",' % hashlib.sha256(covered).hexdigest().encode()
    (run / "manifest.json").write_bytes(start + covered)


def test_every_edit_is_named_with_its_file(result: Result, tmp_path: Path) -> None:
    """A word in the manifest, its layout, or a table that is there for other tools."""
    run = result.save(tmp_path / "run")
    for name in ("manifest.json", "round_trips.parquet", "returns.parquet", "orders.parquet"):
        path = run / name
        good = path.read_bytes()
        for content in (good + b"\n", good[:-1], good.replace(b"taker", b"maker", 1) + b" "):
            path.write_bytes(content)
            with pytest.raises(DataError) as caught:
                Result.load(run)
            assert str(caught.value) == (
                f"{path} was changed after the result was saved; restore it, or run the backtest again"
            )
        path.write_bytes(good)
    manifest = msgspec.json.decode((run / "manifest.json").read_bytes())
    for tidied in (manifest, {**manifest, "format_version": 1}):
        (run / "manifest.json").write_bytes(msgspec.json.encode(tidied))
        with pytest.raises(DataError, match=r"manifest\.json was changed after the result was saved"):
            Result.load(run)
    rewrite_manifest(run, version=2, hash="0" * 64)
    with pytest.raises(DataError, match=r"the tables do not give the hash in manifest\.json"):
        Result.load(run)


@pytest.mark.campaign
def test_a_flipped_bit_in_a_saved_result_is_named(result: Result, tmp_path: Path) -> None:
    """Wherever it is: 77 of 1,500 passed in silence while only the records were compared."""
    run = result.save(tmp_path / "run")
    files = sorted(run.iterdir())
    rng = np.random.default_rng(1500)
    counts: Counter[str] = Counter()
    for number in range(scaled(60)):
        path = files[number % len(files)]
        good = path.read_bytes()
        path.write_bytes(flipped(good, int(rng.integers(8 * len(good)))))
        with pytest.raises(DataError) as caught:
            Result.load(run)
        path.write_bytes(good)
        counts[path.name] += 1
        assert str(caught.value).startswith(str(run))
        assert "\n" not in str(caught.value)
    assert len(counts) == len(files)
    assert Result.load(run).warnings == result.warnings


def test_every_bit_of_the_manifests_beginning_is_guarded(result: Result, tmp_path: Path) -> None:
    """The digest's own name, the digest, and the version decide what is compared."""
    path = result.save(tmp_path / "run") / "manifest.json"
    good = path.read_bytes()
    for bit in range(8 * good.index(b"hash_encoding")):
        path.write_bytes(flipped(good, bit))
        with pytest.raises(DataError):
            Result.load(path.parent)


def test_a_result_of_the_first_version_loads_as_unguarded(result_of: Callable[..., Result], tmp_path: Path) -> None:
    """Its tables have digests, which are compared; its manifest has none, and the result says so."""
    result = result_of(daily_marks=[], funding_payments=[])  # there were no tables of them
    run = result.save(tmp_path / "run")
    rewrite_manifest(run)
    loaded = Result.load(run)
    assert loaded.hash == result.hash
    assert sorted(loaded.warnings) == sorted([*result.warnings, archive.UNGUARDED])
    assert archive.UNGUARDED.startswith("unguarded: ")
    path = run / "returns.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"returns\.parquet was changed"):
        Result.load(run)


def test_what_pyarrow_says_of_a_table_is_one_line_of_ours(result: Result, tmp_path: Path) -> None:
    """Its exceptions share no base with Python's: here one for a table that agrees with its digest."""
    run = result.save(tmp_path / "run")
    files = msgspec.json.decode((run / "manifest.json").read_bytes())["files"]
    content = (run / "fills.parquet").read_bytes()
    for spoilt in (content[:100], b"PAR1" + content[4:-40] + b"x" * 36 + b"PAR1", b""):
        (run / "fills.parquet").write_bytes(spoilt)
        digest = hashlib.sha256(spoilt).hexdigest()
        rewrite_manifest(run, version=2, files={**files, "fills.parquet": {"rows": 5, "sha256": digest}})
        with pytest.raises(DataError, match=r"the saved result is damaged \(") as caught:
            Result.load(run)
        assert "\n" not in str(caught.value)


# A save that ends in the middle -------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from quantkit.report import archive, digest
from quantkit.report.result import Result
from quantkit.report.summary import json_stats
result, calls = Result.load(sys.argv[1]), int(sys.argv[3])
durable = archive._make_durable

def kill(path):
    global calls
    durable(path)
    calls -= 1
    if not calls:
        os.kill(os.getpid(), signal.SIGKILL)

archive._make_durable = kill
result.save(sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("files", [3, 12])
def test_a_killed_save_leaves_one_folder_that_is_named(result: Result, tmp_path: Path, files: int) -> None:
    """Killed among the tables, or when everything is written; the next save clears it away."""
    good = result.save(tmp_path / "good")
    command = [sys.executable, "-c", _KILLED, str(good), str(tmp_path / "run"), str(files)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {"good", "run.partial"}
    with pytest.raises(DataError) as caught:
        Result.load(tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'run'} holds no saved result: manifest.json is missing; "
        f"{tmp_path / 'run'}.partial is left from a save that was killed, run it again"
    )
    if files == 12:
        assert Result.load(tmp_path / "run.partial").hash == result.hash
    else:
        with pytest.raises(DataError, match=r"run\.partial holds no saved result"):
            Result.load(tmp_path / "run.partial")
    result.save(tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"good", "run"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in good.iterdir()}


def test_a_partial_folder_that_is_not_ours_stays(result: Result, tmp_path: Path) -> None:
    """Files of the user's, even tables, and a save that is under way."""
    for name in ("notes.txt", "mine.parquet"):
        part = tmp_path / name / "run.partial"
        part.mkdir(parents=True)
        (part / name).write_text("mine")
        with pytest.raises(ConfigError, match=r"run\.partial holds files that no save wrote; move them, or choose"):
            result.save(tmp_path / name / "run")
        assert [path.name for path in part.iterdir()] == [name]
        with pytest.raises(ConfigError, match="holds files that no save wrote"):
            archive.refuse_taken(tmp_path / name / "run")
    with pytest.raises(ConfigError, match=r"the result cannot be saved to .*: File name too long"):
        archive.refuse_taken(tmp_path / ("x" * 300))
    (tmp_path / "run.partial").mkdir()
    with (tmp_path / "run.partial" / ".lock").open("wb") as lock:
        assert try_lock(lock.fileno())
        with pytest.raises(ConfigError, match="run is being saved to by another process; choose another folder"):
            result.save(tmp_path / "run")
    assert (tmp_path / "run.partial").is_dir()
    result.save(tmp_path / "run")
    assert not (tmp_path / "run.partial").exists()


def test_load_notices_changed_and_broken_tables(result: Result, tmp_path: Path) -> None:
    """A table that was edited gives another hash; one that was cut gives no table."""
    run = result.save(tmp_path / "run")
    path = run / "fills.parquet"
    frame = pd.read_parquet(path)
    frame.loc[0, "price"] = 1.0
    frame.to_parquet(path)
    with pytest.raises(DataError, match=r"fills\.parquet was changed after the result was saved; restore it, or run"):
        Result.load(run)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"fills\.parquet was changed"):
        Result.load(run)
    path.unlink()
    with pytest.raises(DataError, match=r"fills\.parquet is missing though manifest\.json lists it"):
        Result.load(run)


# The hash -----------------------------------------------------------------------------------------------------


def test_hash_sees_results_and_not_words(result: Result, result_of: Callable[..., Result]) -> None:
    """The last digit of a balance counts, a sentence does not; 1.10 and 1.1 are one number."""
    assert result_of(warnings=["other"], assumptions=[]).hash == result.hash
    assert result_of(cash={"BTC": Decimal("0.9990"), "USDT": Decimal("887.734")}).hash == result.hash
    assert result_of(cash={"USDT": Decimal("887.735"), "BTC": Decimal("0.999")}).hash != result.hash
    assert result_of(ended="bankrupt").hash != result.hash
    events = list(result.outcome.order_events)
    events[0] = OrderEvent(events[0].order_id, events[0].at_ns, events[0].reported_ns, OrderState.ACCEPTED, "post only")
    assert result_of(order_events=events).hash != result.hash


def test_hash_sees_the_smallest_change_of_a_float(result: Result, result_of: Callable[..., Result]) -> None:
    """One unit in the last place of one equity."""
    curve = result.outcome.curve
    equity = curve.equity.copy()
    equity[7] = np.nextafter(equity[7], np.inf)
    assert result_of(curve=msgspec.structs.replace(curve, equity=equity)).hash != result.hash


def test_hash_is_the_same_in_other_processes(result: Result, tmp_path: Path) -> None:
    """Three hash seeds, one hash."""
    run = result.save(tmp_path / "run")
    code = "import sys; from quantkit.report.result import Result; print(Result.load(sys.argv[1]).hash)"
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(run)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == result.hash


HASHES = {
    "quantkit-result-1": "23647f3d620336f40bb9398e311faa3478c703d7c0cd9fe19630c2372cc58ad4",
    "quantkit-result-2": "daea2ba79cf4b58edeef4b1965ddb9a454c7d7c68c21329ad4c3b7288e1815b3",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_hash_of_the_handmade_run_is_frozen(encoding: str, result: Result) -> None:
    """A change here changes every stored hash: raise `ENCODING` and say so in the changelog."""
    assert result_hash(result.outcome, encoding) == HASHES[encoding]


def test_a_curve_is_hashed_as_its_little_endian_bytes(result: Result) -> None:
    """However it lies in memory: turned around, as every other value of an array, or big-endian."""
    curve = result.outcome.curve
    columns = msgspec.structs.asdict(msgspec.structs.replace(curve, is_grid=np.arange(len(curve.time_ns)) % 2 == 0))
    plain_curve = EquityCurve(**columns)
    expected = result_hash(msgspec.structs.replace(result.outcome, curve=plain_curve))
    for turned in (
        {name: column.astype(column.dtype.newbyteorder(">")) for name, column in columns.items()},
        {name: np.repeat(column, 2)[::2] for name, column in columns.items()},
        {name: column[::-1].copy()[::-1] for name, column in columns.items()},
    ):
        outcome = msgspec.structs.replace(result.outcome, curve=EquityCurve(**turned))
        assert result_hash(outcome) == expected
    for name, column in columns.items():
        other = column.copy()
        other[3] = not other[3] if column.dtype == np.bool_ else other[3] + 1
        changed = msgspec.structs.replace(plain_curve, **{name: other})
        assert result_hash(msgspec.structs.replace(result.outcome, curve=changed)) != expected, name


def test_a_hash_is_computed_once(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a run, once a load, which compares it; saving and showing take it from there."""
    counted: list[str] = []

    def counting(outcome: Any, encoding: str = digest.ENCODING) -> str:
        counted.append(encoding)
        return result_hash(outcome, encoding)

    monkeypatch.setattr(digest, "result_hash", counting)
    monkeypatch.setattr(archive, "result_hash", counting)
    saved = result.save(tmp_path / "run")
    assert (result.hash, len(counted)) == (result.manifest["hash"], 1)
    loaded = Result.load(saved)
    assert (loaded.hash, loaded.manifest["hash"], len(counted)) == (result.hash, result.hash, 2)


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(plain_values)
@settings(max_examples=100, deadline=None)
def test_canonical_form_is_json_without_floats(value: Any) -> None:
    """Everything survives a JSON round trip, since no float is left whose spelling could vary."""
    form = canonical(value)
    assert msgspec.json.decode(msgspec.json.encode(form)) == form or _has_big_int(form)


class _Spelled(float):
    """A number of another type, which has a spelling of its own."""

    def __repr__(self) -> str:
        return f"spelled {float(self)!r}"


class _Record(NamedTuple):
    first: Any
    second: Any
    third: Any


kinds_of_field = [
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.text(),
    st.floats() | st.sampled_from([0.0, -0.0, _Spelled(1.5)]),
    st.decimals(allow_nan=False) | st.sampled_from([Decimal("1E+3"), Decimal("-0E-9")]),
    st.sampled_from([*OrderState, *TimeInForce]),
]
#: Columns hold values of one kind, as they mostly do, or of several.
columns_of_one_kind = st.sampled_from([*kinds_of_field, st.one_of(kinds_of_field)])


@given(
    st.lists(columns_of_one_kind, min_size=3, max_size=3).flatmap(
        lambda kinds: st.lists(st.tuples(*kinds), max_size=9)
    ),
    st.sampled_from([1, 2, 3, 4096]),
)
@settings(max_examples=300, deadline=None)
def test_lines_are_the_canonical_fields_one_by_one(rows: list[tuple[Any, Any, Any]], at_a_time: int) -> None:
    """However many records are looked at together, and whatever their fields hold."""
    records = [_Record(*row) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "_RECORDS_AT_A_TIME", at_a_time)
        lines = b"".join(canonical_lines(records, ("third", "first")))
    expected = [[canonical(record.third), canonical(record.first)] for record in records]
    assert lines == b"".join(msgspec.json.encode(line) + b"\n" for line in expected)


def _has_big_int(form: Any) -> bool:
    if isinstance(form, list):
        return any(_has_big_int(item) for item in form)
    return isinstance(form, int) and abs(form) >= 2**63


def test_neighbours_cannot_be_read_as_one(result: Result) -> None:
    """An event moved from one list's end to the next list's start is another result."""
    outcome = result.outcome
    fewer = msgspec.structs.replace(outcome, order_events=outcome.order_events[:-1])
    assert result_hash(fewer) != result_hash(outcome)


# The strategy's code -----------------------------------------------------------------------------------------------

CODE = {"mine.py": b"class Mine: ...\n", "pkg/deep.py": b"# beside it\n"}


def with_code(code: dict[str, bytes], result: Result) -> Result:
    """Return a run's result with code."""
    return Result(result.outcome, result.config, result.instruments, sources=code)


def test_the_strategys_code_is_kept(result: Result, tmp_path: Path) -> None:
    """As files to read, and in the loaded result; saved again it is the same."""
    with_code(CODE, result).save(tmp_path / "run")
    assert (tmp_path / "run" / "strategy" / "pkg" / "deep.py").read_bytes() == CODE["pkg/deep.py"]
    loaded = Result.load(tmp_path / "run")
    assert loaded.sources == CODE
    loaded.save(tmp_path / "again")
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in ("run", "again")]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"# other\n")])
def test_changed_code_is_noticed(spoil: Callable[[Path], Any], result: Result, tmp_path: Path) -> None:
    """By its file."""
    run = with_code(CODE, result).save(tmp_path / "run")
    spoil(run / "strategy" / "pkg" / "deep.py")
    with pytest.raises(DataError, match=r"strategy/pkg/deep\.py (is missing|was changed)"):
        Result.load(run)


@pytest.mark.parametrize("place", ["../mine.py", "pkg/../../mine.py", "{folder}/run/mine.py"])
def test_code_outside_of_the_folder_is_not_read(place: str, result: Result, tmp_path: Path) -> None:
    """Whatever a manifest says: the file is there, its digest is right, and so is each folder on the way."""
    run = with_code(CODE, result).save(tmp_path / "run")
    (tmp_path / "run" / "mine.py").write_bytes(b"")
    place = place.format(folder=tmp_path)
    assert (run / "strategy" / place).read_bytes() == b""
    manifest = msgspec.json.decode((run / "manifest.json").read_bytes())
    del manifest["manifest_sha256"]
    sources = {**manifest["sources"], place: hashlib.sha256(b"").hexdigest()}
    rewrite_manifest(run, **{**manifest, "format_version": 1, "sources": sources})
    with pytest.raises(DataError, match="is missing though manifest"):
        Result.load(run)


def test_code_with_a_name_for_one_machine_alone_costs_no_result(result: Result, tmp_path: Path) -> None:
    """It is left out."""
    with_code({"a?b.py": b"# odd\n", **CODE}, result).save(tmp_path / "run")
    assert Result.load(tmp_path / "run").sources == CODE


def test_a_killed_save_with_code_is_cleared_away(result: Result, tmp_path: Path) -> None:
    """The next one takes its place; what somebody else put there is refused."""
    part = tmp_path / "run.partial"
    (part / "strategy" / "pkg").mkdir(parents=True)
    (part / "strategy" / "pkg" / "old.py").write_text("# old\n")
    with pytest.raises(ConfigError, match="holds files that no save wrote"):
        result.save(tmp_path / "run")
    (part / ".lock").touch()
    with_code(CODE, result).save(tmp_path / "run")
    assert Result.load(tmp_path / "run").sources == CODE
    assert not part.exists()


def test_the_manifest_has_the_statistics_and_the_variants(result: Result, tmp_path: Path) -> None:
    """For lists of many results, which read no tables; a loaded result knows the variants again."""
    result.other_variants = [1.5, None]
    run = result.save(tmp_path / "run")
    manifest = archive.read_manifest(run)
    assert manifest["stats"] == msgspec.json.decode(msgspec.json.encode(json_stats(result.numbers)))
    loaded = Result.load(run)
    assert (loaded.variants, loaded.other_variants) == (3, [1.5, None])
    assert result_hash(loaded.outcome) == manifest["hash"]
