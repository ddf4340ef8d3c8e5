"""The engine log: entries as version 0.1 wrote them, and their names of today."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quantkit.brokers.asynchronous.inputs import (
    Acknowledged,
    Amended,
    AmendRefused,
    Cancelled,
    CancelRefused,
    Completed,
    Executed,
    OrderInput,
    OutcomeUnknown,
    Rejected,
)
from quantkit.engine.commands import RunCommand
from quantkit.errors import DataError
from quantkit.events import Candle
from quantkit.live.journal import (
    BrokerNews,
    EngineLog,
    Entry,
    FeedEnded,
    InputBatch,
    Output,
    Sent,
    Started,
    Stepped,
    Stopped,
    WarmupLoaded,
    read_log,
)
from quantkit.orders import OrderState
from quantkit.rows.columns import Stream
from quantkit.storage.tape import TapeReader, TapeWriter

#: One entry of each kind, as version 0.1 wrote it, and its meaning.
OLD: list[tuple[bytes, type[Entry]]] = [
    (
        b'{"type":"start","version":2,"opened_ns":1,"strategy":"mine:Mine","source":null,"strategy_digest":null,'
        b'"parameters":{},"config":{"start_ns":1,"end_ns":9},"instruments":[],"versions":{"python":"3.11.1"}}',
        Started,
    ),
    (
        b'{"type":"warmup","instrument":"A-B","interval":"1m","count":3,"candles":[{"instrument":"A-B","exchange_ns":5,'
        b'"received_ns":5,"open_ns":1,"close_ns":5,"open":1.0,"high":2.0,"low":1.0,"close":2.0,"volume":3.0,'
        b'"interval":"1m"}]}',
        WarmupLoaded,
    ),
    (b'{"type":"offset","from_ns":6,"offset_ns":-3}', Stepped),
    (b'{"type":"take","deliveries":2,"last_ns":7,"until_ns":8}', InputBatch),
    (b'{"type":"sent","instrument":"A-B","number":1,"at_ns":7,"sent_ns":8}', Sent),
    (
        b'{"type":"did","decisions":[[7,"submit","r1","A-B","buy",4,200,null,"gtc",true,false,"in"]],'
        b'"reports":[[8,0,"r1","filled","",7,4,200,{"id":1,"order_id":"r1","instrument":"A-B","side":"buy","price":2.0,'
        b'"qty":4.0,"value":"8","fee":"0.01","fee_currency":"B","role":"maker","filled_ns":7,"revealed_ns":8,'
        b'"why":"queue","tag":"in","lots":4,"ticks":200}]]}',
        Output,
    ),
    (b'{"type":"end"}', FeedEnded),
    (
        b'{"type":"stop","ended":"completed","end_ns":9,"result_hash":"ab","orders":1,"fills":0,"equity":"100",'
        b'"cash":{"B":"100"},"positions":{},"error":""}',
        Stopped,
    ),
]


def written(folder: Path, *payloads: bytes) -> Path:
    with TapeWriter(folder) as tape:
        for payload in payloads:
            tape.append(payload)
    return folder


def test_a_log_of_version_0_1_is_read_by_its_tags(tmp_path: Path) -> None:
    entries = list(read_log(written(tmp_path / "engine", *(payload for payload, _ in OLD))))
    assert [type(entry) for entry in entries] == [kind for _, kind in OLD]
    started, warmed, output = entries[0], entries[1], entries[5]
    assert isinstance(started, Started)
    assert (started.exchange, started.broker) == ("okx", "simulated")
    assert isinstance(warmed, WarmupLoaded)
    assert warmed.candles == [Candle("A-B", 5, 5, 1, 5, 1.0, 2.0, 1.0, 2.0, 3.0, "1m")]
    assert isinstance(output, Output)
    (decision,), (report,) = output.decisions, output.reports
    assert (decision.kind, decision.lots, decision.limit_ticks, decision.tag) == ("submit", 4, 200, "in")
    assert report.state is OrderState.FILLED
    assert report.fill is not None
    assert (report.fill.price, report.fill.fee, report.fill.ticks) == (2.0, Decimal("0.01"), 200)
    stopped = entries[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.hash_encoding == "quantkit-result-1"


def test_each_call_writes_the_tag_of_version_0_1(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "engine")
    log.warmup_loaded(Stream("candle", "A-B", "1m"), 3, [])
    assert not log.has_begun
    log.stepped(6, -3)
    log.input_batch(2, 7, 8)
    assert log.has_begun
    log.broker_news([], 8)
    log.command(RunCommand("pause", "web", "lunch", 7, 8))
    log.sent("A-B", 1, 7, 8)
    log.output([], [])
    log.feed_ended()
    log.close()
    tags = [payload.split(b'"')[3].decode() for payload in TapeReader(tmp_path / "engine")]
    assert tags == ["warmup", "offset", "take", "news", "command", "sent", "did", "end"]


def test_news_of_every_kind_is_read_as_it_was_written(tmp_path: Path) -> None:
    standing: dict[str, Any] = {"order_id": "r1", "at_ns": 5, "received_ns": 6, "filled_lots": 2}
    news: list[OrderInput] = [
        Acknowledged(**standing, exchange_id="77"),
        Rejected(**standing, reason="no"),
        Amended(**standing, request=3, whole_lots=4, limit_ticks=9),
        AmendRefused(**standing, request=4, reason="no"),
        CancelRefused(**standing, request=5, reason="over"),
        Executed(**standing, execution_id="e1", lots=2, ticks=8, fee=Decimal("-0.10"), fee_currency="B", role="maker"),
        Cancelled(**standing, reason="requested"),
        Completed(**standing),
        OutcomeUnknown(**standing, request=6, what="amend"),
    ]
    log = EngineLog(tmp_path / "engine")
    log.broker_news(news, None)
    log.close()
    (entry,) = read_log(tmp_path / "engine")
    assert entry == BrokerNews(None, news)


def test_an_entry_of_an_unknown_kind_is_refused_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="entry 1 of the engine log is not understood"):
        list(read_log(written(tmp_path / "engine", OLD[3][0], b'{"type":"later"}')))
