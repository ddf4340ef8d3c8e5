"""`quantkit record` against the sandbox on real sockets: how it begins, goes on, is refused, and ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.collect import record
from quantkit.events import FeeRate, Gap, PositionTier, Row
from quantkit.feeds.recorder import Recorder
from quantkit.feeds.recording import NOT_RECORDED, REFUSED
from quantkit.feeds.replay import ReplayFeed
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.root import WORK

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
SWAP = "BTC-USDT-SWAP"
CHANNELS = ("--channels", "trades,books")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    """A local exchange."""
    with SandboxServer() as server:
        yield server


def words(sandbox: SandboxServer, folder: Path, *more: str) -> list[str]:
    """Return the words of a recording that says everything in JSON."""
    return ["record", SWAP, "--to", str(folder), "--url", sandbox.ws_url, "--json", "--beat", "50ms", *CHANNELS, *more]


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def said(text: str) -> list[dict[str, Any]]:
    """Return the JSON lines of a recording."""
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start the command line as a user does; it is gone in the end whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-m", "quantkit", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: "subprocess.Popen[str]", is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first beat of a collector that is as wanted."""
    assert process.stdout is not None
    for line in process.stdout:
        beat: dict[str, Any] = json.loads(line)
        if beat["event"] == "beat" and is_so(beat):
            return beat
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def test_what_is_counted_is_in_the_folder(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Every row that the last line tells of, and none beside; the tape is empty in the end."""
    done = run(*words(sandbox, tmp_path / "data", "--for", "2s", "--roll", "1s"))
    assert done.exit_code == 0, done.output
    lines = said(done.stdout)
    assert next(line["event"] for line in lines if line["event"] != "beat") == "began"
    ended = lines[-1]
    assert (ended["event"], ended["error"], ended["gaps"]) == ("ended", "", 0)
    covered = Catalog(tmp_path / "data").coverage()
    assert sum(held.rows for stream, held in covered.items() if stream.kind != "instrument") == ended["rows"] > 10
    assert sum(line["rows"] for line in lines if line["event"] == "sealed") == ended["rows"]
    assert len([line for line in lines if line["event"] == "sealed"]) >= 2
    (tape,) = (tmp_path / "data" / WORK / "tape").glob("*.tape")
    assert tape.stat().st_size < 100


def test_a_replay_of_the_recording_is_the_live_sequence(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row for row, in one order over all streams, over commits and files."""
    seen: list[Row] = []
    store = record._store

    def tee(recorder: Recorder, rows: Sequence[Row]) -> None:
        seen.extend(rows)
        store(recorder, rows)

    monkeypatch.setattr(record, "_store", tee)
    channels = ("--channels", "trades,books,tickers,marks,candles-1s")
    done = run(*words(sandbox, tmp_path / "data", *channels, "--for", "3s", "--roll", "1s"))
    assert done.exit_code == 0, done.output
    feed = ReplayFeed(tmp_path / "data")
    feed.subscribe([Subscription(stream, 0, 2**62) for stream in feed.coverage()])
    found: list[Row] = []
    for batch in feed.batches():
        rows: list[Row | None] = [None] * len(batch)
        for block, positions in zip(batch.blocks, batch.positions, strict=True):
            for position, event in zip(positions.tolist(), block.events(), strict=True):
                rows[position] = event
        found += [row for row in rows if row is not None]
    assert found == seen
    assert {type(row).__name__ for row in found} >= {"BookUpdate", "Candle", "Mark", "Ticker", "Trade"}


def test_a_second_run_goes_on_and_names_what_it_missed(sandbox: SandboxServer, tmp_path: Path) -> None:
    """One gap row of each stream, from the end of the first run to the begin of the second."""
    folder = tmp_path / "data"
    for _ in range(2):
        assert run(*words(sandbox, folder, "--for", "1s")).exit_code == 0
    catalog = Catalog(folder)
    gaps = [row for row in read_events(catalog, [Stream("gap", SWAP)], 0, 2**62) if isinstance(row, Gap)]
    assert sorted(gap.channel for gap in gaps) == ["book", "trade"]
    assert {gap.cause for gap in gaps} == {NOT_RECORDED}
    for kind in ("book", "trade"):
        spans = [span for span in catalog.watched if span.stream == Stream(kind, SWAP)]
        assert len(spans) == 2
        (gap,) = [gap for gap in gaps if gap.channel == kind]
        assert (gap.from_ns, gap.to_ns) == (spans[0].to_ns + 1, spans[1].from_ns)
        rows = read_events(catalog, [Stream(kind, SWAP)], gap.from_ns, gap.to_ns - 1)
        assert list(rows) == []


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_seals_and_exits_with_zero(sandbox: SandboxServer, tmp_path: Path, number: int) -> None:
    """As a service manager ends it, and as Ctrl-C does."""
    with started(*words(sandbox, tmp_path / "data")) as process:
        wait_for(process, lambda beat: beat["rows"] > 5)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    ended = said(output)[-1]
    assert (ended["event"], ended["error"]) == ("ended", "")
    covered = Catalog(tmp_path / "data").coverage()
    assert sum(held.rows for stream, held in covered.items() if stream.kind != "instrument") == ended["rows"] > 5


@posix
def test_a_second_collector_in_one_folder_is_refused(sandbox: SandboxServer, tmp_path: Path) -> None:
    """With one line, while the first goes on."""
    with started(*words(sandbox, tmp_path / "data")) as process:
        wait_for(process, lambda beat: beat["rows"] > 5)
        refused = run(*words(sandbox, tmp_path / "data", "--for", "1s"))
        assert refused.exit_code == 1
        assert refused.stderr.count("\n") == 1
        assert "another writer has it" in refused.stderr
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_disk_with_too_little_room_is_not_begun_on(sandbox: SandboxServer, tmp_path: Path) -> None:
    """It says how much there is and how much shall stay."""
    done = run(*words(sandbox, tmp_path / "data", "--min-free", "900000TB"))
    assert done.exit_code == 1
    assert "shall stay free (--min-free)" in done.stderr


@posix
def test_a_connection_that_breaks_leaves_a_gap_and_goes_on(sandbox: SandboxServer, tmp_path: Path) -> None:
    """The reconnect is a gap row, and rows follow it."""
    with started(*words(sandbox, tmp_path / "data")) as process:
        wait_for(process, lambda beat: beat["rows"] > 5)
        sandbox.inject(faults.Drop(path="public"))
        broken = wait_for(process, lambda beat: beat["gaps"] > 0)
        wait_for(process, lambda beat: beat["rows"] > broken["rows"] + 5)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    gaps = list(read_events(Catalog(tmp_path / "data"), [Stream("gap", SWAP)], 0, 2**62))
    assert {gap.channel for gap in gaps if isinstance(gap, Gap)} >= {"book"}
    assert said(output)[-1]["gaps"] == len(gaps)
    last_ns = Catalog(tmp_path / "data").coverage()[Stream("book", SWAP)].end_ns
    assert last_ns > max(gap.received_ns for gap in gaps)


def test_rules_without_a_channel_are_polled_and_stored_with_their_moment(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the begin of each run; they leave no gap, since each run tells them anew. An account's fees need its key."""
    channels = ("--channels", "trades,tiers,price-limit,fee-rates", "--for", "1s")
    refused = run(*words(sandbox, tmp_path / "data", *channels))
    assert refused.exit_code == 2
    assert "no OKX credentials: set OKX_API_KEY, " in refused.stderr
    for name, value in (("KEY", "sandbox-key"), ("SECRET", "sandbox-secret"), ("PASSPHRASE", "sandbox-pass")):
        monkeypatch.setenv(f"OKX_API_{name}", value)
    for _ in range(2):
        done = run(*words(sandbox, tmp_path / "data", *channels))
        assert done.exit_code == 0, done.output
        assert "sandbox-" not in done.output
    catalog = Catalog(tmp_path / "data")
    tiers, limits = (list(read_events(catalog, [Stream(k, SWAP)], 0, 2**62)) for k in ("position_tier", "price_limit"))
    assert len({row.received_ns for row in tiers}) == 2
    assert len({row.received_ns for row in limits}) >= 2
    assert {row.margin_mode for row in tiers if isinstance(row, PositionTier)} == {"cross", "isolated"}
    assert {stream.kind for stream in catalog.coverage()} >= {"position_tier", "price_limit", "fee_rate"}
    fees = [row for row in read_events(catalog, [Stream("fee_rate", SWAP)], 0, 2**62) if isinstance(row, FeeRate)]
    assert [(row.maker, row.taker) for row in fees] == [(0.0002, 0.0005)] * 2
    gaps = read_events(catalog, [Stream("gap", SWAP)], 0, 2**62)
    assert {gap.channel for gap in gaps if isinstance(gap, Gap)} == {"trade"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--channels", "quotes"), "channel 'quotes' is not known"),
        (("--channels", ""), "no channel is named"),
        (("--roll", "7m"), "a part of a day"),
        (("--keep", "1h"), "a day at least"),
        (("--min-free", "lots"), "is no size"),
    ],
)
def test_wrong_flags_are_told(sandbox: SandboxServer, tmp_path: Path, wrong: tuple[str, ...], message: str) -> None:
    """Before anything is connected to."""
    done = run("record", SWAP, "--to", str(tmp_path / "data"), "--url", sandbox.ws_url, *wrong)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "data" / "manifest.jsonl").exists()


def test_an_instrument_that_is_not_there_is_told(sandbox: SandboxServer, tmp_path: Path) -> None:
    """With the one that was meant."""
    done = run("record", "btc-usdt", "--to", str(tmp_path / "data"), "--url", sandbox.ws_url)
    assert done.exit_code == 2
    assert "did you mean BTC-USDT?" in done.stderr
    done = run("record", "BTC-USDT", "--channels", "funding", "--to", str(tmp_path / "data"), "--url", sandbox.ws_url)
    assert done.exit_code == 2
    assert "none of the instruments has funding" in done.stderr


def test_a_person_reads_lines(sandbox: SandboxServer, tmp_path: Path) -> None:
    """What is recorded, how far it is, and where it lies."""
    done = run("record", SWAP, "--for", "1s", "--to", str(tmp_path / "data"), "--url", sandbox.ws_url, *CHANNELS)
    assert done.exit_code == 0
    first, status, *rest = done.stderr.splitlines()
    assert first == f"recording {SWAP} trade, {SWAP} book in {tmp_path / 'data'}"
    assert " live  nothing sealed yet" in status
    assert len(status) < 80
    assert rest[-1].startswith("recorded ")
    quiet = run("record", SWAP, "--for", "1s", "--to", str(tmp_path / "more"), "--url", sandbox.ws_url, "-q")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_a_stream_that_the_exchange_ends_leaves_the_others_going(sandbox: SandboxServer, tmp_path: Path) -> None:
    """As when an instrument is delisted: told once, ended by a gap row, and from then on not listened to."""
    book, folder = Stream("book", "BTC-USDT"), tmp_path / "data"
    with started(*words(sandbox, folder, "BTC-USDT")) as process:
        wait_for(process, lambda beat: beat["rows"] > 5)
        sandbox.inject(faults.Refuse(channel="books", instrument="BTC-USDT"), faults.Drop(path="public"))
        ended = wait_for(process, lambda beat: bool(beat["refused"]))
        assert list(ended["refused"]) == ["BTC-USDT book"]
        wait_for(process, lambda beat: beat["rows"] > ended["rows"] + 10)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "60018" in errors
    assert said(output)[-1]["notes"] == [f"BTC-USDT book was refused: {ended['refused']['BTC-USDT book']}"]
    catalog = Catalog(folder)
    (refusal,) = [gap for gap in gaps_of(folder, "BTC-USDT") if gap.cause == REFUSED]
    assert refusal.channel == "book"
    until = {span.stream: span.to_ns for span in catalog.watched}
    assert until.pop(book) == refusal.received_ns < min(until.values())
    # The next run has it again, and says what was missed.
    again = run(*words(sandbox, folder, "BTC-USDT", "--for", "1s"))
    assert again.exit_code == 0, again.output
    (missed,) = [g for g in gaps_of(folder, "BTC-USDT") if g.channel == "book" and g.cause == NOT_RECORDED]
    assert missed.from_ns == refusal.received_ns + 1
    assert Catalog(folder).coverage()[book].end_ns > missed.to_ns


def test_a_stream_that_is_refused_at_the_begin_leaves_the_others_going(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Also with two connections, each of which is refused it; a person reads it as a line and in the status."""
    sandbox.inject(faults.Refuse(channel="books", instrument=SWAP, times=2))
    done = run(
        "record", SWAP, "--for", "2s", "--to", str(tmp_path), "--url", sandbox.url, *CHANNELS, "--redundant", "2"
    )
    assert done.exit_code == 0, done.output
    assert f"{SWAP} book was refused: " in done.stderr
    assert " live  1 refused  " in done.stderr
    assert Catalog(tmp_path).coverage()[Stream("trade", SWAP)].rows > 3


def test_an_instrument_that_is_not_listed_any_more_does_not_keep_the_others_from_a_new_start(tmp_path: Path) -> None:
    """It was recorded before, so that it is no mistake; by itself it is one."""
    for count in (4, 2):
        with SandboxServer(market=GeneratedMarket(7, count)) as sandbox:
            done = run(*words(sandbox, tmp_path, "BTC-USDT", "--for", "1s"))
            assert done.exit_code == 0, done.output
            alone = run(*words(sandbox, tmp_path, "--for", "1s"))
    assert said(done.stdout)[-1]["notes"] == [f"{SWAP} is not listed any more, and was left out"]
    last = [line for line in said(done.stdout) if line["event"] == "beat"][-1]
    assert last["refused"] == dict.fromkeys([f"{SWAP} book", f"{SWAP} trade"], "not listed any more")
    assert alone.exit_code == 2
    assert f"{SWAP} is not listed by the exchange" in alone.stderr


def test_a_collector_ends_once_every_stream_is_refused(sandbox: SandboxServer, tmp_path: Path) -> None:
    """With the reason, and no success."""
    sandbox.inject(faults.Refuse(channel="trades", instrument=SWAP), faults.Refuse(channel="books", instrument=SWAP))
    done = run(*words(sandbox, tmp_path / "data", "--for", "30s"))
    assert done.exit_code == 1
    assert "the exchange serves no stream any more: " in done.stderr


def gaps_of(folder: Path, instrument: str) -> list[Gap]:
    """Return an instrument's gap rows."""
    rows = read_events(Catalog(folder), [Stream("gap", instrument)], 0, 2**62)
    return [row for row in rows if isinstance(row, Gap)]
