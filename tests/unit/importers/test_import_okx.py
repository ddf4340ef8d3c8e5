"""OKX captures: sequence, checksum and crossing of books, trades once each, settled funding, every form of line."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BookData, decode
from quantkit.feeds.okx.tracker.records import Subscribed
from quantkit.feeds.okx.tracker.tracker import Tracker
from quantkit.importers import ImportReport, import_files
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

DATA = Path(__file__).parents[2] / "data"
START_MS = 1_723_161_256_000
NAME = "BTC-USDT"


class Recorder:
    """Writes a capture in the recorder's form, or as bare JSON lines: each frame 10 ms after the one before."""

    def __init__(self, path: Path, *, is_bare: bool = False) -> None:
        self.path = path
        self.is_bare = is_bare
        self.now_ms = START_MS
        self.lines: list[str] = []

    @property
    def now_ns(self) -> int:
        return self.now_ms * 1_000_000

    def frame(self, document: Any) -> None:
        stamp = "" if self.is_bare else f"{self.now_ms // 1000}.{self.now_ms % 1000:03d}: "
        self.lines.append(stamp + json.dumps(document))
        self.now_ms += 10

    def push(self, channel: str, rows: list[Any], *, name: str = NAME, **rest: Any) -> None:
        stamped = [{"ts": str(self.now_ms - 5), **row} if isinstance(row, dict) else row for row in rows]
        self.frame({"arg": {"channel": channel, "instId": name}, **rest, "data": stamped})

    def book(
        self,
        action: str,
        prev: int | None,
        seq: int | None,
        bids: Any = (),
        asks: Any = (),
        channel: str = "books",
        **rest: Any,
    ) -> None:
        ids = {key: value for key, value in (("prevSeqId", prev), ("seqId", seq)) if value is not None}
        rows = [{"bids": [[*level, "0", "1"] for level in bids], "asks": [[*level, "0", "1"] for level in asks]}]
        self.push(channel, [{**rows[0], **ids, **rest}], action=action)

    def snapshot(self, seq: int | None, channel: str = "books", **rest: Any) -> None:
        prev = None if seq is None else -1
        self.book("snapshot", prev, seq, [("100", "1"), ("99", "2")], [("101", "1")], channel, **rest)

    def trade(self, trade_id: int, *, channel: str = "trades", name: str = NAME, **rest: Any) -> None:
        row = {"instId": name, "tradeId": str(trade_id), "px": "100.5", "sz": "0.1", "side": "buy", **rest}
        self.push(channel, [row], name=name)

    def save(self) -> Path:
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return self.path


def imported(tmp_path: Path, *recorders: Recorder, **options: Any) -> ImportReport:
    return import_files("okx/ws-raw", [each.save() for each in recorders], to=tmp_path / "data", **options)


def stored(tmp_path: Path, kind: str) -> list[MarketEvent]:
    catalog = Catalog(tmp_path / "data")
    return list(read_events(catalog, [s for s in catalog.coverage() if s.kind == kind], 0, 2**62))


def gaps(tmp_path: Path) -> list[tuple[str, str]]:
    return [(gap.channel, gap.cause) for gap in stored(tmp_path, "gap") if isinstance(gap, Gap)]


def book_seqs(tmp_path: Path) -> list[int]:
    return [event.seq for event in stored(tmp_path, "book") if isinstance(event, BookUpdate)]


# Books ------------------------------------------------------------------------------------------------------------


def test_sign_of_life_reset_and_repeat_are_no_gaps(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10, checksum=0)
    capture.book("update", 10, 15, [("100", "3")], checksum=0)
    capture.book("update", 10, 15, [("100", "3")], checksum=0)
    capture.book("update", 15, 15, checksum=0)
    capture.book("update", 15, 3, [("98", "1")], checksum=0)
    capture.book("update", 3, 5, checksum=0)
    report = imported(tmp_path, capture)
    assert book_seqs(tmp_path) == [10, 15, 15, 3, 5]
    assert report.rows_written == {f"{NAME} book": 5}
    assert report.ignored == {"repeated book frames": 1}
    assert report.checked == {"book sequence links": 4}


def test_a_broken_chain_is_one_gap_until_the_next_snapshot(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.book("update", 10, 15)
    capture.book("update", 17, 18)
    capture.book("update", 18, 19)
    capture.snapshot(30)
    capture.book("update", 30, 31)
    report = imported(tmp_path, capture)
    assert book_seqs(tmp_path) == [10, 15, 30, 31]
    (gap,) = stored(tmp_path, "gap")
    start_ns = START_MS * 1_000_000
    assert gap == Gap(
        NAME,
        start_ns + 15_000_000,
        start_ns + 20_000_000,
        "book",
        start_ns + 5_000_000,
        start_ns + 15_000_000,
        "sequence",
    )
    assert report.ignored == {"book updates while waiting for a snapshot": 1}


def test_updates_before_any_snapshot_are_one_gap(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.book("update", 8, 9)
    capture.book("update", 9, 10)
    capture.snapshot(10)
    capture.book("update", 10, 11)
    report = imported(tmp_path, capture)
    assert gaps(tmp_path) == [("book", "no snapshot")]
    assert book_seqs(tmp_path) == [10, 11]
    assert report.ignored == {"book updates while waiting for a snapshot": 2}


def test_a_second_snapshot_replaces_the_book(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.book("snapshot", -1, 20, [("90", "1")], [("91", "1")])
    capture.book("update", 20, 21, [], [("95", "1")])
    report = imported(tmp_path, capture)
    assert report.rows_written == {f"{NAME} book": 3}


def test_a_crossed_book_is_a_gap(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.book("update", 10, 11, [("101", "1")])
    capture.book("snapshot", -1, 12, [("101", "1")], [("101", "1")])
    capture.book("update", 12, 13, [("101", "0")])
    report = imported(tmp_path, capture)
    assert gaps(tmp_path) == [("book", "crossed")]
    assert book_seqs(tmp_path) == [10, 13]
    assert report.ignored == {"crossed books": 1}


def test_a_missing_bar_is_a_gap(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    for place in (0, 1, 3):
        open_ms = START_MS - 600_000 + 60_000 * place
        capture.push("candle1m", [[str(open_ms), "10", "12", "9", "11", "5", "50", "50", "1"]])
    imported(tmp_path, capture)
    opens = [candle.open_ns for candle in stored(tmp_path, "candle") if isinstance(candle, Candle)]
    assert [(open_ns - opens[0]) // 60_000_000_000 for open_ns in opens] == [0, 1, 3]
    assert gaps(tmp_path) == [("candle 1m", "missing")]


def test_a_wrong_checksum_is_a_gap_and_zero_is_none(tmp_path: Path) -> None:
    def signed(text: str) -> int:
        value = zlib.crc32(text.encode())
        return value - 2**32 if value >= 2**31 else value

    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(None, checksum=signed("100:1:101:1:99:2"))
    capture.book("update", None, None, [("99", "0"), ("55", "0")], checksum=signed("100:1:101:1"))
    capture.book("update", None, None, [("98", "1.50")], checksum=signed("100:1:101:1:98:1.50"))
    capture.book("update", None, None, [("97", "1")], checksum=12345)
    capture.book("update", None, None, [("96", "1")], checksum=0)
    capture.snapshot(None, checksum=0)
    report = imported(tmp_path, capture)
    assert gaps(tmp_path) == [("book", "checksum")]
    assert report.rows_written == {f"{NAME} gap": 1, f"{NAME} book": 4}
    assert report.checked == {"book checksums": 3}


def test_the_finest_channel_of_a_stream_is_kept(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.book("snapshot", None, 1, [("100", "1")], [("101", "1")], channel="books5")
    capture.book("update", 4, 5, channel="books50-l2-tbt")
    capture.snapshot(10)
    capture.snapshot(10, channel="books-l2-tbt")
    capture.book("update", 10, 11, channel="books-l2-tbt")
    capture.push("tickers", [{"instId": NAME, "bidPx": "1", "bidSz": "1", "askPx": "2", "askSz": "1"}])
    capture.push("bbo-tbt", [{"bids": [["1", "1", "0", "1"]], "asks": []}])
    capture.trade(1)
    capture.trade(1, channel="trades-all")
    report = imported(tmp_path, capture)
    assert report.rows_written == {f"{NAME} book": 2, f"{NAME} ticker": 1, f"{NAME} trade": 1}
    assert report.ignored == {
        "book updates while waiting for a snapshot": 1,
        "books rows beside the finer books-l2-tbt": 1,
        "books5 rows beside the finer books-l2-tbt": 1,
        "tickers rows beside the finer bbo-tbt": 1,
        "trades rows beside the finer trades-all": 1,
    }


# Trades, rates, bars ----------------------------------------------------------------------------------------------


def test_trades_are_stored_once_and_holes_in_counted_ids_are_gaps(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(10, count="1", ts=str(START_MS - 900_000))
    capture.trade(12, count="2")
    capture.trade(12, count="2")
    capture.trade(16, count="2")
    report = imported(tmp_path, capture)
    trades = [trade for trade in stored(tmp_path, "trade") if isinstance(trade, Trade)]
    assert [trade.trade_id for trade in trades] == [10, 12, 16]
    assert trades[0].exchange_ns == (START_MS - 900_000) * 1_000_000  # older than the subscription, but real
    assert gaps(tmp_path) == [("trade", "trades 13 to 14 are missing")]
    assert report.ignored == {"repeated trades": 1}


def test_ids_of_aggregated_trades_without_a_count_prove_nothing(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    for trade_id in (10, 14, 20):
        capture.trade(trade_id)
    imported(tmp_path, capture)
    assert gaps(tmp_path) == []


def test_a_settled_rate_belongs_to_the_settlement_that_became_due(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    due_ms, next_ms = START_MS + 60_000, START_MS + 120_000
    row = {"instId": "BTC-USDT-SWAP", "fundingTime": str(due_ms), "fundingRate": "0.0001"}
    settled = {"settState": "settled", "settFundingRate": "0.0003"}
    capture.push("funding-rate", [{**row, **settled}], name="BTC-USDT-SWAP")
    later = {**row, "fundingTime": str(next_ms)}
    capture.push(
        "funding-rate", [{**later, "settState": "processing", "settFundingRate": "0.00012"}], name="BTC-USDT-SWAP"
    )
    capture.push("funding-rate", [{**later, **settled, "settFundingRate": "0.00012"}], name="BTC-USDT-SWAP")
    capture.push("funding-rate", [{**later, **settled, "settFundingRate": "0.00012"}], name="BTC-USDT-SWAP")
    imported(tmp_path, capture)
    rates = [event for event in stored(tmp_path, "funding") if isinstance(event, Funding)]
    assert [(rate.rate, rate.funding_ns // 1_000_000, rate.is_settled) for rate in rates if rate.is_settled] == [
        (0.00012, due_ms, True)
    ]
    assert len(rates) == 5


def test_a_settled_rate_after_a_hole_is_that_of_the_last_settlement(tmp_path: Path) -> None:
    """Three settlements have passed unseen: only the rate of the last is told."""
    capture, step_ms = Recorder(tmp_path / "c.log"), 8 * 3_600_000
    for place, settled in ((1, "0.9"), (4, "0.0003")):
        due_ms = START_MS + place * step_ms
        capture.now_ms = due_ms - step_ms + 5_000
        times = {"fundingTime": str(due_ms), "nextFundingTime": str(due_ms + step_ms)}
        row = {"instId": "BTC-USDT-SWAP", "fundingRate": "0.0001", "settState": "settled", "settFundingRate": settled}
        capture.push("funding-rate", [row | times], name="BTC-USDT-SWAP")
    report = imported(tmp_path, capture)
    rates = [event for event in stored(tmp_path, "funding") if isinstance(event, Funding) and event.is_settled]
    assert [(rate.rate, rate.funding_ns // 1_000_000) for rate in rates] == [(0.0003, START_MS + 3 * step_ms)]
    assert report.ignored["settlements whose rate was lost"] == 2


def test_bars_marks_and_quotes(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    open_ms = START_MS - 60_000
    bar = [str(open_ms), "10", "12", "9", "11", "5", "50", "50"]
    for confirm in ("0", "1", "1"):
        capture.push("candle1m", [[*bar, confirm]])
    capture.push("mark-price", [{"instId": NAME, "markPx": "10"}])
    capture.push("tickers", [{"instId": NAME, "bidPx": "5", "askPx": "4"}])
    capture.push("tickers", [{"instId": NAME, "last": "4"}])
    capture.push("tickers", [{"instId": NAME, "askPx": "4", "askSz": "1", "last": "4"}])
    report = imported(tmp_path, capture)
    (candle,) = stored(tmp_path, "candle")
    assert isinstance(candle, Candle)
    assert (candle.close_ns, candle.received_ns) == (START_MS * 1_000_000, (START_MS + 10) * 1_000_000)
    assert [mark.price for mark in stored(tmp_path, "mark") if isinstance(mark, Mark)] == [10.0]
    assert [quote.ask for quote in stored(tmp_path, "ticker") if isinstance(quote, Ticker)] == [4.0]
    assert report.ignored == {
        "bars that are still open": 1,
        "crossed quotes, as before an instrument opens": 1,
        "quotes without a side": 1,
        "repeated bars": 1,
    }


# Lines ------------------------------------------------------------------------------------------------------------


def test_what_is_no_market_data_is_counted_by_rule(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.lines += [
        "wss://ws.okx.com:8443/ws/v5/public <-> 1723161255.5",
        'wss://ws.okx.com:8443/ws/v5/public <- 1723161255.6: {"op":"subscribe"}',
        'configuration: {"a":1}',
        "https://www.okx.com/api/v5/public/time -> 1723161255.7: {}",
    ]
    capture.frame({"event": "subscribe", "arg": {"channel": "books", "instId": NAME}})
    capture.frame({"event": "error", "code": "60018", "msg": "wrong"})
    capture.frame({"event": "notice", "code": "64008", "msg": "soon"})
    capture.push("price-limit", [{}])
    capture.push("trades", [])
    capture.trade(1, name="BTC-USD-220325-40000-C")
    capture.trade(1)
    report = imported(tmp_path, capture)
    assert report.ignored == {
        "acknowledgements": 1,
        "configuration lines": 1,
        "connected lines": 1,
        "errors": 1,
        "frames without rows": 1,
        "notices": 1,
        "rest lines": 1,
        "rows of options": 1,
        "sent lines": 1,
        "unused: channel price-limit": 1,
    }
    assert report.rows_read == 11 == sum(report.ignored.values()) + 1
    assert any("60018" in warning for warning in report.warnings)


def test_a_lost_connection_is_a_gap_of_what_cannot_prove_itself(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    url = "wss://ws.okx.com:8443/ws/v5/public"
    capture.lines.append(f"{url} <-> {(START_MS - 100) / 1000:.3f}")
    capture.snapshot(10)
    capture.trade(1)
    capture.now_ms += 1000
    capture.lines.append(f"{url} <-> {capture.now_ms / 1000:.3f}")
    capture.now_ms += 10
    capture.book("update", 10, 11)
    capture.trade(2)
    imported(tmp_path, capture)
    assert gaps(tmp_path) == [("trade", "reconnected")]
    assert book_seqs(tmp_path) == [10, 11]


@pytest.mark.parametrize("form", ["log", "jsonl with stamps"])
def test_receipt_stamps_are_exact(tmp_path: Path, form: str) -> None:
    frame = (
        '{"arg":{"channel":"mark-price","instId":"A-B"},"data":[{"instId":"A-B","markPx":"1","ts":"1652459225000"}]}'
    )
    stamp = "1652459225.2987883"
    line = f"{stamp}: {frame}" if form == "log" else f'{{"t":{stamp},"dir":"in","frame":{frame}}}'
    file = tmp_path / "c.log"
    file.write_text(line, encoding="utf-8")
    import_files("okx/ws-raw", [file], to=tmp_path / "data")
    assert [event.received_ns for event in stored(tmp_path, "mark")] == [1652459225_298_788_300]


def test_stamps_of_no_clock_are_shown_as_they_read(tmp_path: Path) -> None:
    """The recorder's and the exchange's."""
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.trade(2, ts="3900000000000")
    capture.lines.append("0450000000.0: " + capture.lines[0].partition(": ")[2])
    report = imported(tmp_path, capture)
    assert report.rows_written == {f"{NAME} trade": 1}
    assert [row.why for row in report.skipped_rows] == [
        "the exchange's stamp reads as 2093-08-01T21:20:00Z, not between 1990 and a year from now",
        "the receipt stamp reads as 1984-04-05T08:00:00Z, not between 1990 and a year from now",
    ]


def test_bare_frames_are_received_when_the_exchange_stamped_them(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.jsonl", is_bare=True)
    for trade_id, ts in enumerate((100, 100, 90, 120), 1):
        capture.trade(trade_id, ts=str(START_MS + ts))
    report = imported(tmp_path, capture)
    trades = stored(tmp_path, "trade")
    assert [(t.exchange_ns // 1_000_000 - START_MS, t.received_ns // 1_000_000 - START_MS) for t in trades] == [
        (100, 100), (100, 100), (90, 100), (120, 120),
    ]  # fmt: skip
    assert [t.trade_id for t in trades if isinstance(t, Trade)] == [1, 2, 3, 4]
    assert report.received_shift_ns == 0


def test_a_receiver_behind_the_exchange_is_shifted_by_one_constant(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1, ts=str(START_MS + 50))
    capture.trade(2)
    report = imported(tmp_path, capture)
    assert report.received_shift_ns == 51_000_000
    assert [t.received_ns - t.exchange_ns for t in stored(tmp_path, "trade")] == [1_000_000, 56_000_000]


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "1723161256.5",
        "1723161256.5: not json",
        '{"t":"x","dir":"in","frame":{}}',
        '{"t":1723161256.5,"dir":"in"}',
        '1723161256.5: {"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B"}]}',
        '1723161256.5: {"arg":{"channel":"mark-price"},"data":[{"instId":"../x","markPx":"1","ts":"1"}]}',
        '1723161256.5: {"arg":{"channel":"mark-price"},"data":[{"instId":"A-B","markPx":"1","ts":"9223372036854"}]}',
        "https://www.okx.com/api/v5/public/instruments -> 1723161256.5: {}",
    ],
    ids=lambda line: line[-60:],
)
def test_bad_lines_are_shown_and_strict_mode_writes_nothing(line: str, tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.lines.append(line)
    report = imported(tmp_path, capture)
    assert [(row.line, row.text) for row in report.skipped_rows] == [(2, line)]
    with pytest.raises(ParseError, match=r"c\.log:2: "):
        import_files("okx/ws-raw", [capture.path], to=tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_one_instrument_of_a_capture(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.trade(1, name="ETH-USDT")
    report = imported(tmp_path, capture, instrument="ETH-USDT", price_step="0.01", qty_step="0.001")
    assert report.rows_written == {"ETH-USDT trade": 1}
    assert report.instruments == {"ETH-USDT": "given"}
    assert report.ignored == {"rows of other instruments": 1}
    with pytest.raises(DataError, match="no okx/ws-raw row to store"):
        import_files("okx/ws-raw", [capture.path], to=tmp_path / "none", only=["SOL-USDT"])
    with pytest.raises(ConfigError, match=r"several instruments \(BTC-USDT, ETH-USDT\)"):
        import_files("okx/ws-raw", [capture.path], to=tmp_path / "none", price_step="1")


# Metadata ---------------------------------------------------------------------------------------------------------

SPOT_ROW = {
    "instId": NAME,
    "instType": "SPOT",
    "baseCcy": "BTC",
    "quoteCcy": "USDT",
    "tickSz": "0.1",
    "lotSz": "0.01",
    "minSz": "0.02",
}


def test_metadata_from_the_capture_a_file_or_the_channel(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    reply = json.dumps(
        {"code": "0", "data": [SPOT_ROW, {"instId": "BAD", "instType": "SPOT", "tickSz": "x", "lotSz": "1"}]}
    )
    rest = tmp_path / "rest.log"
    rest.write_text(
        f"https://www.okx.com/api/v5/public/instruments?instType=SPOT -> 1723161200.5: {reply}\n", encoding="utf-8"
    )
    capture.save()
    report = import_files("okx/ws-raw", [capture.path, rest], to=tmp_path / "data")
    assert report.instruments == {NAME: "capture"}
    assert any("metadata that cannot be understood" in warning for warning in report.warnings)
    expected = Catalog(tmp_path / "data").instruments()[NAME]
    assert (str(expected.price_step), str(expected.qty_step), str(expected.min_qty)) == ("0.1", "0.01", "0.02")
    own = tmp_path / "own.json"
    own.write_text(json.dumps([{**expected.to_dict(), "source": "given"}]), encoding="utf-8")
    okx = tmp_path / "okx.json"
    okx.write_text(reply, encoding="utf-8")
    several = tmp_path / "several.json"
    several.write_text(json.dumps({"SPOT": json.loads(reply)}), encoding="utf-8")
    listed = tmp_path / "rows.json"
    listed.write_text(json.dumps([SPOT_ROW]), encoding="utf-8")
    for number, (file, source) in enumerate(
        ((own, "given"), (okx, "capture"), (several, "capture"), (listed, "capture"), (rest, "capture"))
    ):
        to = tmp_path / f"data{number}"
        assert import_files("okx/ws-raw", [capture.path], to=to, instrument_file=file).instruments == {NAME: source}
        assert Catalog(to).instruments()[NAME].price_step == expected.price_step
    capture.push("instruments", [SPOT_ROW])
    report = import_files("okx/ws-raw", [capture.save()], to=tmp_path / "channel")
    assert report.instruments == {NAME: "capture"}


@pytest.mark.parametrize(
    "text", ["", "hello", "[1]", "{}", "[]", '[{"id":"../x"}]', '[{"id":"A-B"}]', '{"code":"1","data":[]}']
)
def test_what_is_no_instrument_file_is_refused(text: str, tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    file = tmp_path / "i.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"i\.json (is no instrument file|holds no instrument)"):
        imported(tmp_path, capture, instrument_file=file)


# The recordings ---------------------------------------------------------------------------------------------------


def frames_of(name: str) -> list[tuple[str, bytes]]:
    """Return (receipt stamp, frame) of every received line."""
    lines = gzip.decompress((DATA / name).read_bytes()).splitlines()
    return [
        (stamp.decode(), frame) for stamp, _, frame in (line.partition(b": ") for line in lines if line[:1].isdigit())
    ]


def tracked(messages: list[BookData]) -> list[Any]:
    """Return what a tracker that proves checksums makes of book messages."""
    tracker = Tracker(proves_checksums=True)
    found: list[Any] = []
    for channel in dict.fromkeys(Channel(message.channel, message.update.instrument) for message in messages):
        tracker.record(Subscribed(1, 0, channel))
    for message in messages:
        found += tracker.messages(0, message.update.exchange_ns, [message])
    return found


@pytest.mark.parametrize(
    ("name", "books"), [("okx_ws_20220227T231427Z.log.gz", 3679), ("okx_ws_20220513T162705Z.log.gz", 290)]
)
def test_every_recorded_checksum_verifies(name: str, books: int) -> None:
    """Options included, which the import leaves out."""
    messages = [m for _, frame in frames_of(name) for m in decode(frame, received_ns=1) if isinstance(m, BookData)]
    assert all(message.checksum for message in messages)
    assert tracked(messages) == [message.update for message in messages]
    assert len(messages) == books


def test_a_lost_recorded_update_never_goes_unseen() -> None:
    """A lost update that changed the best levels breaks a checksum or leaves too many levels."""
    frames = [m for _, frame in frames_of("okx_ws_20220513T162705Z.log.gz") for m in decode(frame, received_ns=1)]
    books = [m for m in frames if isinstance(m, BookData) and m.update.instrument == "BTC-USDT"]
    seen = 0
    for lost in range(1, 60):
        rows = tracked([message for place, message in enumerate(books) if place != lost])
        seen += any(isinstance(row, Gap) and row.cause in ("checksum", "levels") for row in rows)
    assert seen >= 50


@pytest.mark.parametrize(
    ("stem", "day", "rows"),
    [
        (
            "okx_ws_20220227T231427Z",
            "20220227",
            {
                "ELON-USDT book": 1602, "PROPS-ETH book": 208, "UNI-USD-SWAP book": 1337, "ZEN-USDT book": 396,
                "ELON-USDT ticker": 3, "PROPS-ETH ticker": 1, "UNI-USD-SWAP ticker": 2, "ZEN-USDT ticker": 8,
                "ELON-USDT trade": 3, "PROPS-ETH trade": 1, "UNI-USD-SWAP trade": 2, "ZEN-USDT trade": 11,
            },
        ),
        (
            "okx_ws_20220513T162705Z",
            "20220513",
            {
                "BTC-USD-220527 book": 99, "BTC-USDT book": 98, "UNI-USD-SWAP book": 93,
                "BTC-USD-220527 ticker": 2, "BTC-USDT ticker": 25, "UNI-USD-SWAP ticker": 1,
                "BTC-USD-220527 trade": 4, "BTC-USDT trade": 69, "UNI-USD-SWAP trade": 1,
            },
        ),
    ],
)  # fmt: skip
def test_recorded_captures_import_whole_and_rebuild(tmp_path: Path, stem: str, day: str, rows: dict[str, int]) -> None:
    """Books rebuilt from what is stored equal books rebuilt from the raw frames by other code."""
    files = [DATA / f"{stem}.log.gz", DATA / f"okx_rest_instruments_{day}.log.gz"]
    report = import_files("okx/ws-raw", files, to=tmp_path / "data")
    assert report.rows_written == rows
    assert (report.skipped, report.received_shift_ns, report.warnings) == (0, 0, [])
    assert set(report.instruments.values()) == {"capture"}

    truth: dict[str, dict[str, dict[float, float]]] = {}
    for _, frame in frames_of(f"{stem}.log.gz"):
        document = json.loads(frame)
        if "action" in document and document["arg"]["instId"] in report.instruments:
            book = truth.setdefault(document["arg"]["instId"], {"bids": {}, "asks": {}})
            for side, levels in book.items():
                if document["action"] == "snapshot":
                    levels.clear()
                for px, sz, *_ in document["data"][0][side]:
                    levels[float(px)] = float(sz)
                    if sz == "0":
                        del levels[float(px)]
    rebuilt: dict[str, dict[str, dict[float, float]]] = {}
    for event in stored(tmp_path, "book"):
        assert isinstance(event, BookUpdate)
        book = rebuilt.setdefault(event.instrument, {"bids": {}, "asks": {}})
        if event.is_snapshot:
            book["bids"].clear()
            book["asks"].clear()
        for levels, prices, qtys in (
            (book["bids"], event.bid_prices, event.bid_qtys),
            (book["asks"], event.ask_prices, event.ask_qtys),
        ):
            for price, qty in zip(prices, qtys, strict=True):
                levels.pop(price, None)
                if qty:
                    levels[price] = qty
        if book["bids"] and book["asks"]:
            assert max(book["bids"]) < min(book["asks"])
    assert rebuilt == truth


def test_recorded_metadata(tmp_path: Path) -> None:
    files = [DATA / "okx_ws_20220513T162705Z.log.gz", DATA / "okx_rest_instruments_20220513.log.gz"]
    import_files("okx/ws-raw", files, to=tmp_path / "data")
    found = Catalog(tmp_path / "data").instruments()
    future = found["BTC-USD-220527"]
    assert (future.kind, future.is_inverse, str(future.unit), future.settle) == ("future", True, "100", "BTC")
    assert (str(found["BTC-USDT"].price_step), str(found["BTC-USDT"].qty_step)) == ("0.1", "1E-8")
    assert (found["UNI-USD-SWAP"].kind, str(found["UNI-USD-SWAP"].unit)) == ("swap", "10")


def test_the_sample_data_are_what_the_import_gives(tmp_path: Path) -> None:
    """`data/` holds the first capture as these importers read it today."""
    files = [DATA / "okx_ws_20220227T231427Z.log.gz", DATA / "okx_rest_instruments_20220227.log.gz"]
    import_files("okx/ws-raw", files, to=tmp_path / "data")
    fresh, sample = Catalog(tmp_path / "data"), Catalog(DATA.parents[1] / "data")
    for stream in fresh.coverage():
        assert list(read_events(fresh, [stream], 0, 2**62)) == list(read_events(sample, [stream], 0, 2**62))
    assert fresh.instruments().items() <= sample.instruments().items()
