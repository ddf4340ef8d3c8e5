"""Quotes, marks, rates, trades and everything else through a tracker: outages, handovers, shedding, counting."""

import json
import logging
from typing import Any

import pytest
from tracker_driver import NAME, TS, TS_NS, Driver, gaps, kinds, ticker, trade

from quantkit.events import Funding, Gap, Mark, OpenInterest, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import Ack, ErrorEvent, InstrumentData, OrdersData, Pong, Status
from quantkit.feeds.okx.tracker.channel import ChannelState, Counters
from quantkit.feeds.okx.tracker.records import BookFetched, Closed, Fetched, Opened, Resubscribe

TICKERS = Channel("tickers", NAME)
TRADES = Channel("trades", NAME)
EVERY_TRADE = Channel("trades-all", NAME)
MARKS = Channel("mark-price", "BTC-USDT-SWAP")
FUNDING = Channel("funding-rate", "BTC-USDT-SWAP")
INTEREST = Channel("open-interest", "BTC-USDT-SWAP")
SPOT = Channel("instruments", inst_type="SPOT")
STATUS = Channel("status")
ORDERS = Channel("orders", inst_type="ANY")


def wanted(*channels: Channel) -> Driver:
    driver = Driver()
    for channel in channels:
        driver.want(channel)
    return driver


def mark(price: str, ts: int) -> dict[str, str]:
    return {"instId": "BTC-USDT-SWAP", "markPx": price, "ts": str(TS + ts)}


# Quotes and marks -------------------------------------------------------------------------------------------------


def test_the_first_row_after_an_outage_brings_its_gap() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(0))
    assert driver.lose(cause="closed 1000") == []
    assert driver.want(TICKERS, 1) == []
    delivered = driver.push(TICKERS, ticker(500), connection=1)
    assert kinds(delivered) == ["Gap", "Ticker"]
    end_ns = TS_NS + 500_000_000
    assert delivered[0] == Gap(NAME, end_ns, driver.now_ns, "ticker", TS_NS, end_ns, "disconnected: closed 1000")
    assert kinds(driver.push(TICKERS, ticker(600), connection=1)) == ["Ticker"]


def test_each_outage_is_told_with_its_own_cause() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(0))
    causes = []
    for connection, cause in enumerate(("one", "two", "three")):
        driver.lose(connection, cause)
        driver.want(TICKERS, connection + 1)
        causes += gaps(driver.push(TICKERS, ticker(connection + 1), connection=connection + 1))
    assert [cause for _, cause in causes] == ["disconnected: one", "disconnected: two", "disconnected: three"]


def test_an_outage_that_goes_on_is_one_gap_and_ends_with_the_run() -> None:
    driver = wanted(TICKERS, TRADES)
    driver.push(TICKERS, ticker(0))
    driver.push(TRADES, trade(1, 3))
    driver.lose()
    driver.want(TICKERS, 1)
    driver.want(TRADES, 1)
    driver.lose(1, "again")
    found = driver.record(Closed)
    assert found == [
        Gap(NAME, TS_NS, driver.now_ns, "ticker", TS_NS, driver.now_ns, "disconnected: reset"),
        Gap(NAME, TS_NS + 3_000_000, driver.now_ns, "trade", TS_NS + 3_000_000, driver.now_ns, "disconnected: reset"),
    ]
    assert driver.tracker.close(driver.stamp()) == []


def test_before_the_first_row_there_is_nothing_to_lose() -> None:
    driver = wanted(TICKERS, MARKS)
    driver.lose()
    driver.want(TICKERS, 1)
    assert kinds(driver.push(TICKERS, ticker(0), connection=1)) == ["Ticker"]
    assert driver.tracker.close(driver.stamp()) == []


def test_quotes_that_are_none_are_left_out_and_end_no_outage() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(0))
    driver.lose()
    driver.want(TICKERS, 1)
    assert driver.push(TICKERS, ticker(1, "101.1", "101"), connection=1) == []
    assert driver.push(TICKERS, ticker(2, "", ""), connection=1) == []
    assert kinds(driver.push(TICKERS, ticker(3, "", "101"), connection=1)) == ["Gap", "Ticker"]
    assert kinds(driver.push(TICKERS, ticker(4, "101", "101"), connection=1)) == ["Ticker"]
    assert driver.tracker.counters["crossed quotes, as before an instrument opens"] == 1
    assert driver.tracker.counters["quotes without a side"] == 1


def test_stamps_that_go_back_are_delivered_as_they_come() -> None:
    driver = wanted(MARKS)
    events = [*driver.push(MARKS, mark("2", 9)), *driver.push(MARKS, mark("3", 5)), *driver.push(MARKS, mark("4", 5))]
    assert [event.price for event in events if isinstance(event, Mark)] == [2.0, 3.0, 4.0]


def test_a_handover_of_quotes_takes_what_is_newer_and_nothing_twice() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    driver.want(TICKERS, 1)
    assert driver.push(TICKERS, ticker(10), connection=1) == []
    assert kinds(driver.push(TICKERS, ticker(20), connection=1)) == ["Ticker"]
    assert driver.push(TICKERS, ticker(15)) == []
    assert kinds(driver.push(TICKERS, ticker(30))) == ["Ticker"]
    assert driver.lose(0) == []
    assert driver.push(TICKERS, ticker(30), connection=1) == []
    assert kinds(driver.push(TICKERS, ticker(40), connection=1)) == ["Ticker"]
    assert driver.push(TICKERS, ticker(50)) == []  # of the connection that is gone
    assert driver.tracker.counters["repeated rows of a handover"] == 3


def test_a_successor_that_has_brought_nothing_yet_does_not_prevent_the_outage() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    driver.want(TICKERS, 1)
    driver.lose(0)
    assert kinds(driver.push(TICKERS, ticker(10), connection=1)) == ["Gap", "Ticker"]


def test_a_lost_successor_changes_nothing() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    driver.want(TICKERS, 1)
    driver.lose(1)
    assert kinds(driver.push(TICKERS, ticker(20))) == ["Ticker"]


def test_unsubscribing_ends_everything_and_tells_an_open_outage() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    assert driver.unwant(TICKERS) == []
    assert driver.push(TICKERS, ticker(20)) == []
    driver.want(TICKERS)
    driver.push(TICKERS, ticker(30))
    driver.lose()
    assert gaps(driver.unwant(TICKERS)) == [("ticker", "disconnected: reset")]
    assert driver.tracker.close(driver.stamp()) == []


def test_unsubscribing_during_a_handover_ends_both() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    driver.want(TICKERS, 1)
    assert driver.unwant(TICKERS, 7) == []
    driver.unwant(TICKERS, 0)
    driver.unwant(TICKERS, 1)
    assert driver.push(TICKERS, ticker(20), connection=1) == []
    assert driver.tracker.counters["rows of channels that nobody wants"] == 1


@pytest.mark.parametrize("data", [b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instId":7}]}'])
def test_a_malformed_row_is_an_outage_of_its_channel(data: bytes) -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    assert driver.raw(data, 9) == []
    assert kinds(driver.push(TICKERS, ticker(15))) == ["Ticker"]
    assert driver.raw(data) == []
    assert gaps(driver.push(TICKERS, ticker(20))) == [("ticker", "malformed")]


def test_a_stalled_channel_is_an_outage_and_subscribed_anew() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    assert driver.stall(TICKERS) == []
    assert driver.commands == [Resubscribe(0, TICKERS, "stalled for 1m 30s")]
    assert driver.stall(TICKERS, 5) == []
    assert len(driver.commands) == 1
    assert gaps(driver.push(TICKERS, ticker(20))) == [("ticker", "stalled for 1m 30s")]


def test_a_stall_or_a_malformed_row_of_one_of_two_connections_is_no_outage() -> None:
    driver = wanted(TICKERS)
    driver.push(TICKERS, ticker(10))
    driver.want(TICKERS, 1)
    driver.push(TICKERS, ticker(20), connection=1)
    assert driver.stall(TICKERS, 1) == []
    assert driver.commands == [Resubscribe(1, TICKERS, "stalled for 1m 30s")]
    driver.want(TICKERS, 1)
    assert kinds(driver.push(TICKERS, ticker(30), connection=1)) == ["Ticker"]
    driver.raw(b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instId":7}]}', 1)
    assert kinds(driver.push(TICKERS, ticker(40))) == ["Ticker"]


def test_shed_rows_are_an_outage_only_where_there_were_any() -> None:
    driver = wanted(TICKERS, MARKS)
    driver.push(TICKERS, ticker(10))
    driver.push(MARKS, mark("2", 10))
    assert driver.shed(True) == []
    assert driver.push(TICKERS, ticker(20)) == []
    assert driver.shed(False) == []
    assert gaps(driver.push(TICKERS, ticker(30))) == [("ticker", "shed")]
    assert kinds(driver.push(MARKS, mark("3", 30))) == ["Mark"]
    assert driver.tracker.counters["rows shed"] == 1


# Funding ----------------------------------------------------------------------------------------------------------


def rate(due: int, ts: int, *, state: str = "processing", settled: str = "") -> dict[str, str]:
    return {
        "instId": "BTC-USDT-SWAP", "fundingRate": "0.0001", "fundingTime": str(TS + due), "ts": str(TS + ts),
        "settState": state, "settFundingRate": settled,
    }  # fmt: skip


def test_a_settled_rate_belongs_to_the_settlement_that_became_due() -> None:
    driver = wanted(FUNDING)
    assert kinds(driver.push(FUNDING, rate(60_000, 0, state="settled", settled="0.0003"))) == ["Funding"]
    assert kinds(driver.push(FUNDING, rate(120_000, 61_000, settled="0.00012"))) == ["Funding"]
    predicted, settled = driver.push(FUNDING, rate(120_000, 62_000, state="settled", settled="0.00012"))
    assert isinstance(predicted, Funding)
    assert not predicted.is_settled
    assert settled == Funding(
        "BTC-USDT-SWAP", TS_NS + 62_000_000_000, driver.now_ns, 0.00012, TS_NS + 60_000_000_000, True
    )
    assert kinds(driver.push(FUNDING, rate(120_000, 63_000, state="settled", settled="0.00012"))) == ["Funding"]


def test_a_settlement_during_an_outage_is_told_after_its_gap() -> None:
    driver = wanted(FUNDING)
    driver.push(FUNDING, rate(60_000, 0))
    driver.lose()
    driver.want(FUNDING, 1)
    delivered = driver.push(FUNDING, rate(120_000, 62_000, state="settled", settled="0.00012"), connection=1)
    assert kinds(delivered) == ["Gap", "Funding", "Funding"]
    assert driver.push(FUNDING, rate(120_000, 62_000), connection=0) == []


@pytest.mark.parametrize("interval_h", [1, 8])
def test_a_settled_rate_after_a_long_outage_is_that_of_the_last_settlement(interval_h: int) -> None:
    step = interval_h * 3_600_000

    def of(place: int, ts: int, settled: str) -> dict[str, str]:
        later = str(TS + (place + 1) * step)
        return rate(place * step, ts, state="settled", settled=settled) | {"nextFundingTime": later}

    driver = wanted(FUNDING)
    driver.push(FUNDING, of(1, 0, "0.9"))
    driver.lose()
    driver.want(FUNDING, 1)
    driver.now_ns += 3 * step * 1_000_000
    # The settlements 1, 2 and 3 have passed; only the rate of the last is told, and the gap covers the others.
    gap, _, settled = driver.push(FUNDING, of(4, 3 * step + 5_000, "0.0003"), connection=1)
    assert isinstance(gap, Gap)
    assert isinstance(settled, Funding)
    assert (settled.rate, settled.funding_ns, settled.is_settled) == (0.0003, TS_NS + 3 * step * 1_000_000, True)
    assert gap.from_ns <= TS_NS + step * 1_000_000 <= gap.to_ns
    assert driver.tracker.counters["settlements whose rate was lost"] == 2
    driver.now_ns += step * 1_000_000
    (_, after) = driver.push(FUNDING, of(5, 4 * step + 5_000, "0.0004"), connection=1)
    assert (after.rate, after.funding_ns) == (0.0004, TS_NS + 4 * step * 1_000_000)  # type: ignore[union-attr]


def test_a_settled_rate_of_nobody_knows_which_settlement_is_not_told() -> None:
    driver = wanted(FUNDING)
    driver.push(FUNDING, rate(3_600_000, 0))
    driver.lose()
    driver.want(FUNDING, 1)
    late = rate(4 * 3_600_000, 3 * 3_600_000 + 5_000, state="settled", settled="0.0003")
    assert kinds(driver.push(FUNDING, late | {"nextFundingTime": "soon"}, connection=1)) == ["Gap", "Funding"]
    assert driver.tracker.counters["settled rates of an unknown settlement"] == 1


# Stamps -----------------------------------------------------------------------------------------------------------

_DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("channel", "row_at"),
    [
        (TICKERS, lambda ts: ticker(ts)),
        (TRADES, lambda ts: trade(ts // 1_000 + 1, ts)),
        (FUNDING, lambda ts: rate(60_000, ts)),
        (Channel("candle1m", NAME), lambda ts: [str(TS + ts - (TS + ts) % 60_000), *"1211111", "0"]),
    ],
)
def test_a_row_that_is_stamped_a_day_ahead_is_not_believed(
    channel: Channel, row_at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver = wanted(channel)
    assert driver.push(channel, row_at(0))
    assert driver.push(channel, row_at(2 * _DAY_MS)) == []
    assert driver.push(channel, row_at(9 * _DAY_MS)) == []
    assert driver.tracker.counters["rows stamped a day ahead of this machine's clock"] == 2
    assert sum("set it by NTP" in record.message for record in caplog.records) == 1
    # A clock that is off by hours is a clock that is off; the rows are good.
    delivered = driver.push(channel, row_at(_DAY_MS // 2))
    assert driver.tracker.counters["rows stamped a day ahead of this machine's clock"] == 2
    assert isinstance(delivered[0], Gap) or channel.name == "candle1m"
    assert not isinstance(delivered[-1], Gap)


# Trades -----------------------------------------------------------------------------------------------------------


def test_trades_come_once_and_holes_in_counted_ids_are_gaps() -> None:
    driver = wanted(TRADES)
    delivered = driver.push(TRADES, trade(10, 0), trade(12, 1, 2))
    delivered += driver.push(TRADES, trade(12, 1, 2))
    assert [event.trade_id for event in delivered if isinstance(event, Trade)] == [10, 12]
    gap, last = driver.push(TRADES, trade(16, 9, 2))
    missing = "trades 13 to 14 are missing"
    assert gap == Gap(NAME, TS_NS + 9_000_000, driver.now_ns, "trade", TS_NS + 1_000_000, TS_NS + 9_000_000, missing)
    assert kinds([last]) == ["Trade"]
    assert driver.tracker.counters["repeated trades"] == 1


def test_the_gaps_of_a_frame_come_before_its_rows() -> None:
    driver = wanted(TRADES)
    assert kinds(driver.push(TRADES, trade(1, 0), trade(3, 1), trade(5, 2))) == [
        "Gap",
        "Gap",
        "Trade",
        "Trade",
        "Trade",
    ]


def test_every_match_counts_on_the_channel_of_all_trades() -> None:
    driver = wanted(EVERY_TRADE)
    driver.push(EVERY_TRADE, trade(1, 0, None))
    assert gaps(driver.push(EVERY_TRADE, trade(3, 1, None))) == [("trade", "trades 2 to 2 are missing")]


def test_ids_of_aggregated_trades_without_a_count_prove_nothing() -> None:
    driver = wanted(TRADES)
    assert kinds(driver.push(TRADES, trade(1, 0, None), trade(9, 1, None))) == ["Trade", "Trade"]


def test_a_much_lower_id_with_a_later_stamp_is_a_new_count() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(5000, 0))
    assert driver.push(TRADES, trade(5000, 10), trade(7, -1)) == []
    assert kinds(driver.push(TRADES, trade(5, 10), trade(6, 11))) == ["Trade", "Trade"]
    assert gaps(driver.push(TRADES, trade(8, 12))) == [("trade", "trades 7 to 7 are missing")]


def test_a_trade_that_was_overtaken_is_delivered_and_shows_no_gap() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0), trade(12, 1, 2))
    assert kinds(driver.push(TRADES, trade(9, 1))) == ["Trade"]
    assert driver.push(TRADES, trade(9, 1)) == []
    assert kinds(driver.push(TRADES, trade(13, 2))) == ["Trade"]


def test_trades_without_ids_come_from_the_owner_alone() -> None:
    driver = wanted(TRADES)
    assert kinds(driver.push(TRADES, trade("", 0, None), trade("", 0, None))) == ["Trade", "Trade"]
    driver.want(TRADES, 1)
    assert driver.push(TRADES, trade("", 5, None), connection=1) == []
    assert kinds(driver.push(TRADES, trade("", 5, None))) == ["Trade"]


def test_an_outage_tells_which_trades_are_missing_and_the_repeated_first_push_does_not_end_it() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.lose(cause="pong")
    driver.want(TRADES, 1)
    assert driver.push(TRADES, trade(10, 0), connection=1) == []
    delivered = driver.push(TRADES, trade(13, 9), connection=1)
    assert gaps(delivered) == [("trade", "disconnected: pong; trades 11 to 12 are missing")]
    assert kinds(delivered) == ["Gap", "Trade"]


def test_an_outage_in_which_no_trade_is_missing_is_told_all_the_same() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.lose(cause="pong")
    driver.want(TRADES, 1)
    assert gaps(driver.push(TRADES, trade(11, 9), connection=1)) == [("trade", "disconnected: pong")]


def test_a_successor_that_is_ahead_waits_for_what_the_owner_may_still_bring() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    assert driver.push(TRADES, trade(13, 3), connection=1) == []
    assert driver.push(TRADES, trade(14, 4), connection=1) == []
    assert kinds(driver.push(TRADES, trade(11, 1))) == ["Trade"]
    late = driver.push(TRADES, trade(12, 2))
    assert [(event.trade_id, event.received_ns) for event in late if isinstance(event, Trade)] == [
        (12, driver.now_ns), (13, driver.now_ns), (14, driver.now_ns),
    ]  # fmt: skip
    assert driver.push(TRADES, trade(13, 3)) == []
    assert driver.lose(0) == []
    assert kinds(driver.push(TRADES, trade(15, 5), connection=1)) == ["Trade"]


def test_what_waited_is_delivered_behind_a_gap_when_the_owner_goes() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    driver.push(TRADES, trade(13, 3), connection=1)
    delivered = driver.lose(0)
    assert kinds(delivered) == ["Gap", "Trade"]
    assert gaps(delivered) == [("trade", "trades 11 to 12 are missing")]
    assert kinds(driver.push(TRADES, trade(14, 4), connection=1)) == ["Trade"]


def test_an_outage_of_the_owner_is_told_with_what_waited() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    driver.push(TRADES, trade(13, 3), connection=1)
    driver.tracker.frame(0, driver.stamp(), b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[5]}')
    delivered = driver.lose(0)
    delivered += driver.push(TRADES, trade(14, 4), connection=1)
    assert kinds(delivered) == ["Gap", "Trade", "Trade"]


def test_a_successor_that_is_lost_leaves_what_waited_to_the_owner() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    driver.push(TRADES, trade(14, 4), connection=1)
    assert driver.lose(1) == []
    delivered = [event for number in (11, 12, 13, 14, 15) for event in driver.push(TRADES, trade(number, number - 10))]
    assert [event.trade_id for event in delivered if isinstance(event, Trade)] == [11, 12, 13, 14, 15]
    assert gaps(delivered) == []


def test_shed_trades_are_told_with_their_ids() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    driver.push(TRADES, trade(13, 0), connection=1)
    driver.shed(True)
    assert driver.push(TRADES, trade(11, 1), trade(12, 2)) == []
    assert driver.push(TRADES, trade(12, 2), connection=9) == []
    driver.shed(False)
    assert gaps(driver.push(TRADES, trade(13, 3))) == [("trade", "shed; trades 11 to 12 are missing")]


def test_a_trade_without_an_id_does_not_hide_what_its_followers_lack() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    assert kinds(driver.push(TRADES, trade("", 1, None))) == ["Trade"]
    assert kinds(driver.push(TRADES, trade(11, 2))) == ["Trade"]


def test_no_more_than_a_thousand_trades_wait() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    for trade_id in range(12, 1012):
        assert driver.push(TRADES, trade(trade_id, trade_id), connection=1) == []
    delivered = driver.push(TRADES, trade(1012, 1012), connection=1)
    assert gaps(delivered) == [("trade", "trades 11 to 11 are missing")]
    assert len(delivered) == 1002


def test_trades_that_never_had_their_turn_are_a_gap_at_the_end() -> None:
    driver = wanted(TRADES)
    driver.push(TRADES, trade(10, 0))
    driver.want(TRADES, 1)
    driver.push(TRADES, trade(13, 3), connection=1)
    assert gaps(list(driver.tracker.close(driver.stamp()))) == [("trade", "trades 11 to 12 are missing")]


# News -------------------------------------------------------------------------------------------------------------


def order(order_id: str, state: str = "live") -> dict[str, str]:
    return {"instId": NAME, "ordId": order_id, "state": state}


def listing(name: str, state: str = "live") -> dict[str, str]:
    return {"instId": name, "instType": "SPOT", "state": state, "tickSz": "0.1"}


def test_news_of_every_kind_is_delivered_as_it_comes() -> None:
    driver = wanted(INTEREST, SPOT, STATUS, ORDERS)
    row = {"instId": "BTC-USDT-SWAP", "oi": "5", "oiCcy": "1", "ts": str(TS)}
    assert [type(event) for event in driver.push(INTEREST, row)] == [OpenInterest]
    found = driver.push(SPOT, listing("ZEN-USDT"), listing("BTC-USDT"))
    assert [event.row.inst_id for event in found if isinstance(event, InstrumentData)] == ["BTC-USDT", "ZEN-USDT"]
    assert [type(event) for event in driver.push(STATUS, {"title": "x", "state": "ongoing", "ts": str(TS)})] == [Status]
    assert [type(event) for event in driver.push(ORDERS, order("1"))] == [OrdersData]
    assert [type(event) for event in driver.push(ORDERS, order("1"))] == [OrdersData]  # OKX repeats itself
    # Of these only open interest is data of the market, whose loss is told.
    assert driver.lose() == []
    (gap,) = driver.tracker.close(driver.stamp())
    assert (gap.channel, gap.instrument) == ("open_interest", "BTC-USDT-SWAP")


def test_news_of_other_kinds_of_instruments_is_not_wanted() -> None:
    driver = wanted(SPOT)
    row = {**listing("BTC-USDT-SWAP"), "instType": "SWAP"}
    assert driver.push(Channel("instruments", inst_type="SWAP"), row) == []


def test_a_handover_of_orders_brings_no_copy_and_loses_none() -> None:
    driver = wanted(ORDERS)
    driver.push(ORDERS, order("1"))
    driver.want(ORDERS, 1)
    delivered = driver.push(ORDERS, order("2"))
    delivered += driver.push(ORDERS, order("2"), connection=1)
    delivered += driver.push(ORDERS, order("3"), connection=1)
    delivered += driver.push(ORDERS, order("3"))
    delivered += driver.push(ORDERS, order("4"))
    delivered += driver.lose(0)
    delivered += driver.push(ORDERS, order("4"), connection=1)
    delivered += driver.push(ORDERS, order("5"), connection=1)
    delivered += driver.push(ORDERS, order("5"), connection=1)
    ids = [each.order_id for event in delivered if isinstance(event, OrdersData) for each in event.orders]
    assert ids == ["2", "3", "4", "5", "5"]


def test_news_of_a_connection_that_is_not_asked_is_not_delivered() -> None:
    assert wanted(ORDERS).push(ORDERS, order("1"), connection=9) == []


def test_a_private_channel_that_is_subscribed_in_parts_lives_as_long_as_one_of_them() -> None:
    spot, swap = Channel("orders", inst_type="SPOT"), Channel("orders", inst_type="SWAP")
    driver = wanted(spot, swap)
    driver.unwant(spot)
    assert kinds(driver.push(swap, order("1"))) == ["OrdersData"]
    driver.unwant(swap)
    assert driver.push(swap, order("1")) == []


def test_a_consumer_without_room_gets_news_of_the_account_all_the_same() -> None:
    driver = wanted(ORDERS, SPOT, INTEREST)
    driver.shed(True)
    assert kinds(driver.push(ORDERS, order("1"))) == ["OrdersData"]
    assert kinds(driver.push(SPOT, listing("BTC-USDT"))) == ["InstrumentData"]
    assert driver.push(INTEREST, {"instId": "BTC-USDT-SWAP", "oi": "5", "ts": str(TS)}) == []


def test_bars_that_open_on_another_clock_are_told_as_such() -> None:
    foreign = Channel("candle1D", NAME)
    driver = wanted(foreign)
    row = [str(TS), "1", "2", "1", "2", "5", "5", "5", "1"]
    assert kinds(driver.push(foreign, row)) == ["ForeignCandle"]


# What is no row ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"pong", Pong),
        (b'{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a"}', Ack),
        (b'{"event":"error","code":"60012","msg":"no","connId":"a"}', ErrorEvent),
    ],
)
def test_what_concerns_the_connection_goes_to_the_client(frame: bytes, kind: type) -> None:
    driver = Driver()
    assert driver.raw(frame, 4) == []
    ((connection, message),) = driver.control
    assert (connection, type(message)) == (4, kind)


def test_what_is_unknown_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    with caplog.at_level(logging.INFO, "quantkit.feeds.okx"):
        for _ in range(3):
            assert driver.raw(b'{"event":"brand-new\\n\\u001b[31m"}') == []
    assert driver.tracker.counters["unknown: event brand-new\n\x1b[31m"] == 3
    assert [record.getMessage() for record in caplog.records] == ["first seen: unknown: event brand-new\\n\\x1b[31m"]


def test_names_that_an_exchange_makes_up_fill_no_memory() -> None:
    driver = Driver()
    for number in range(1500):
        driver.raw(json.dumps({"event": f"event-{number}"}).encode())
    assert len(driver.tracker.counters) == 1001
    assert driver.tracker.counters["other"] == 500


def test_an_opened_connection_changes_nothing() -> None:
    assert Driver().record(Opened, 3, "public") == []


@pytest.mark.parametrize("channel", [TICKERS, TRADES, Channel("books", NAME), Channel("candle1m", NAME), ORDERS])
def test_records_of_unknown_channels_and_connections_are_harmless(channel: Channel) -> None:
    driver = Driver()
    actions: list[Any] = [
        lambda: driver.unwant(channel, 3),
        lambda: driver.stall(channel, 3),
        lambda: driver.lose(3),
        lambda: driver.record(Fetched, channel, [], ""),
        lambda: driver.record(BookFetched, channel, b"", ""),
    ]
    for want in (False, True):
        if want:
            driver.want(channel)
        assert [action() for action in actions] == [[]] * len(actions)
    assert driver.tracker.heard_ns(3, channel) == 0
    assert driver.commands == []


def test_rows_that_come_with_one_stamp_are_in_the_total_order() -> None:
    driver = Driver()
    opened = TS - TS % 60_000
    for interval in ("5m", "1m"):
        for name in ("SOL-USDT", "BTC-USDT"):
            driver.want(Channel(f"candle{interval}", name))
    for name in ("SOL-USDT", "BTC-USDT"):
        driver.want(Channel("books", name))
        driver.snapshot(Channel("books", name), 1)
    driver.shed(True)
    for interval in ("5m", "1m"):
        for name in ("SOL-USDT", "BTC-USDT"):
            driver.push(Channel(f"candle{interval}", name), [str(opened), "1", "2", "1", "2", "5", "5", "5", "1"])
    released: list[Any] = driver.shed(False)
    assert [(type(row).__name__, getattr(row, "interval", ""), row.instrument) for row in released] == [
        ("Candle", "1m", "BTC-USDT"),
        ("Candle", "1m", "SOL-USDT"),
        ("Candle", "5m", "BTC-USDT"),
        ("Candle", "5m", "SOL-USDT"),
        ("BookUpdate", "", "BTC-USDT"),
        ("BookUpdate", "", "SOL-USDT"),
    ]


def test_every_kind_of_channel_says_how_it_takes_its_messages() -> None:
    """A kind that does not cannot be made: no message is lost for lack of a method."""

    class Deaf(ChannelState):
        pass

    with pytest.raises(TypeError, match="take"):
        Deaf(TICKERS, Counters(), lambda _: None)  # type: ignore[abstract]
