"""Public REST endpoints: markets, instruments and the state of the system."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

from quantkit.sandbox.archives import listed_files
from quantkit.sandbox.channels import Topic, bar_of
from quantkit.sandbox.market import JsonRow
from quantkit.sandbox.request import KINDS, JsonRows, Refused, RestRequest, Route
from quantkit.sandbox.wire import plain

#: `market/candles` goes back this many bars.
_HORIZON_BARS: Final = 1440
_RECENT_TRADES: Final = 500
_FULL_DEPTH: Final = 5000


def _time(request: RestRequest) -> JsonRows:
    skew_ms = round(request.exchange.faults.skew_s() * 1000)
    return [{"ts": str(request.market.time_ms(request.now_ms) + skew_ms)}]


def _instruments(request: RestRequest) -> JsonRows:
    return instruments(request, request.kind())


def instruments(request: RestRequest, kind: str) -> JsonRows:
    """Return the rows of a type, of the family or with the id that a request names.

    Raises:
        Refused: There is no instrument of that id.
    """
    name = request.params.get("instId", "")
    family = request.params.get("instFamily", "") or request.params.get("uly", "")
    rows = [row for row in request.market.instruments() if row["instType"] == kind]
    if kind == "MARGIN" and not rows:
        # A pair that takes leverage is listed a second time, as margin.
        spot = [row for row in request.market.instruments() if row["instType"] == "SPOT" and row.get("lever")]
        rows = [row | {"instType": kind, "instFamily": row["instId"], "uly": row["instId"]} for row in spot]
    if name:
        rows = [row for row in rows if row["instId"] == name]
        if not rows:
            raise Refused("51001")
    return [row for row in rows if not family or family_of(row) == family]


def family_of(row: JsonRow) -> str:
    """Return the family of an instrument; rows from before there were families name the underlying alone."""
    return row.get("instFamily") or row.get("uly") or ""


def _tickers(request: RestRequest) -> JsonRows:
    names = [row["instId"] for row in instruments(request, request.kind())]
    return [row for name in names if (row := request.market.ticker(name, request.now_ms)) is not None]


def _ticker(request: RestRequest) -> JsonRows:
    row = request.market.ticker(request.instrument(), request.now_ms)
    return [] if row is None else [row]


def _books(request: RestRequest) -> JsonRows:
    depth = request.number("sz")
    if depth is not None and not 1 <= depth <= 400:
        raise Refused("51000", "sz")
    row = request.market.book(request.instrument(), depth or 1, request.now_ms)
    return [] if row is None else [row]


def _full_book(request: RestRequest) -> JsonRows:
    depth = request.number("sz")
    if depth is not None and not 1 <= depth <= _FULL_DEPTH:
        raise Refused("51000", "sz")
    row = request.market.full_book(request.instrument(), depth or 1, request.now_ms)
    if row is None:
        return []
    # Levels without the dead third item, and no sequence number.
    sides = {side: [[level[0], level[1], level[3]] for level in row[side]] for side in ("asks", "bids")}
    return [sides | {"ts": row["ts"]}]


def _candles(request: RestRequest, *, of: str = "candle", most: int = 300, is_history: bool = False) -> JsonRows:
    bar = request.params.get("bar", "") or "1m"
    channel = of + bar
    if not bar_of(channel) or (bar == "1s" and not is_history):
        raise Refused("51000", "bar")
    if of == "index-candle":
        topic = Topic(channel, request.needed("instId"))
        if not request.market.has(Topic("index-tickers", topic.key)):
            raise Refused("51001")
    else:
        topic = Topic(channel, request.instrument())
    after, before, limit = request.number("after"), request.number("before"), request.limit(most)
    until_ms = request.now_ms + 1 if after is None else min(after, request.now_ms + 1)
    # `before` alone gives the latest rows, not those nearest to it.
    rows = request.market.candles(topic, until_ms, limit + 1, request.now_ms)
    if is_history:
        rows = [row for row in rows if row[-1] == "1"]
    elif after is not None:
        newest = request.market.candles(topic, request.now_ms + 1, _HORIZON_BARS, request.now_ms)
        oldest_ms = int(newest[-1][0]) if newest else 0
        rows = [row for row in rows if int(row[0]) >= oldest_ms]
    return [row for row in rows if before is None or int(row[0]) > before][:limit]


def _trades(request: RestRequest) -> JsonRows:
    limit = request.limit(_RECENT_TRADES)
    return request.market.trades(request.instrument(), request.now_ms)[:limit]


def _history_trades(request: RestRequest) -> JsonRows:
    name, limit = request.instrument(), request.limit(100)
    after, before = request.number("after"), request.number("before")
    by_time = (request.params.get("type") or "1") == "2"
    if by_time:
        if before is not None:
            raise Refused("50039")
        return request.market.older_trades(name, None, after, limit)
    rows = request.market.older_trades(name, after, None, limit)
    return [row for row in rows if before is None or int(row["tradeId"]) > before]


def _funding_rate(request: RestRequest) -> JsonRows:
    if request.needed("instId") == "ANY":
        names = [row["instId"] for row in request.market.instruments()]
        found = [request.market.row("funding-rate", name, request.now_ms) for name in names]
        return [row for row in found if row is not None]
    row = request.market.row("funding-rate", request.instrument(), request.now_ms)
    if row is None:
        raise Refused("51000", "instId")
    return [row]


def _funding_history(request: RestRequest) -> JsonRows:
    name = request.instrument()
    if request.market.row("funding-rate", name, request.now_ms) is None:
        raise Refused("51000", "instId")
    after, before = request.number("after"), request.number("before")
    rows = [
        row
        for row in request.market.fundings(name, request.now_ms)
        if (after is None or int(row["fundingTime"]) < after) and (before is None or int(row["fundingTime"]) > before)
    ]
    return rows[: request.limit(400)]


def _rows_of(channel: str) -> Callable[[RestRequest], JsonRows]:
    """Return the endpoint that gives the newest row of a channel, of one instrument or of a type."""

    def answer(request: RestRequest) -> JsonRows:
        if request.params.get("instId") and request.params.get("instType", "") in ("", "ANY"):
            # The id says of what type it is.
            names = [request.instrument()]
        else:
            names = [row["instId"] for row in instruments(request, request.kind())]
        return [row for name in names if (row := request.market.row(channel, name, request.now_ms)) is not None]

    return answer


def _index_tickers(request: RestRequest) -> JsonRows:
    wanted, quote = request.params.get("instId", ""), request.params.get("quoteCcy", "")
    names: Sequence[str] = [wanted]
    if not wanted:
        # An index is the family of its contracts, or the pair itself.
        names = sorted({row.get("uly") or row["instId"] for row in request.market.instruments()})
        names = [name for name in names if not quote or name.endswith(f"-{quote}")]
    rows = [row for name in names if (row := request.market.row("index-tickers", name, request.now_ms)) is not None]
    if wanted and not rows:
        raise Refused("51001")
    return rows


def _price_limit(request: RestRequest) -> JsonRows:
    row = request.instrument_row(request.needed("instId"))
    limit = request.market.row("price-limit", row["instId"], request.now_ms)
    none = {"buyLmt": "", "sellLmt": "", "ts": str(request.now_ms), "enabled": False}
    return [{"instType": row["instType"], "instId": row["instId"], **none, **(limit or {})}]


def _tiers(request: RestRequest) -> JsonRows:
    kind = request.choice("instType", *KINDS[1:])
    request.choice("tdMode", "cross", "isolated")
    if kind == "MARGIN":
        names, field = request.listed("instId"), "instId"
        if not names and not request.listed("ccy"):
            raise Refused("50015", "instId", "ccy", status=400)
    else:
        names, field = request.listed("instFamily") or request.listed("uly"), "instFamily"
        if not names:
            raise Refused("50014", "instFamily", status=400)
    listed = [row for row in request.market.instruments() if row["instType"] == _listed_as(kind)]
    rows = {row["instId"] if kind == "MARGIN" else family_of(row): row for row in listed}
    tier = request.params.get("tier", "")
    found: JsonRows = []
    for name in names:
        if name not in rows:
            raise Refused("51000", field)
        found += [row for row in request.market.tiers(rows[name]) if tier in ("", row["tier"])]
    return found


def _listed_as(kind: str) -> str:
    return "SPOT" if kind == "MARGIN" else kind


def _underlying(request: RestRequest) -> JsonRows:
    kind = request.choice("instType", *KINDS[2:])
    listed = request.market.instruments()
    return [sorted({row["uly"] for row in listed if row["instType"] == kind and row.get("uly")})]


def _converted(request: RestRequest) -> JsonRows:
    """Return contracts as coins, or coins as contracts: `type` 2 or 1."""
    row = request.instrument_row(request.needed("instId"))
    if not row.get("ctVal"):
        raise Refused("51000", "instId")
    way = request.params.get("type", "") or "1"
    size, price = request.decimal("sz"), request.params.get("px", "")
    value = Decimal(row["ctVal"]) * Decimal(row.get("ctMult") or 1)
    if row["ctType"] == "inverse":
        # Such a contract is worth dollars: how many coins, the price says.
        value /= request.decimal("px")
    lot = Decimal(row["lotSz"])
    if way == "1":
        found = (size / value // lot) * lot
    elif way == "2":
        found = size * value
    else:
        raise Refused("51000", "type")
    return [{"type": way, "instId": row["instId"], "px": price, "sz": plain(found), "unit": "coin"}]


def _volume(request: RestRequest) -> JsonRows:
    """Return what was traded in a day on the whole platform, in dollars: pairs and contracts together."""
    total = Decimal(0)
    for row in request.market.instruments():
        ticker = request.market.ticker(row["instId"], request.now_ms)
        if ticker is None:
            continue
        traded = Decimal(ticker["volCcy24h"] or 0)
        # Of a pair that is quote currency, of a contract it is coins.
        total += traded if row["instType"] == "SPOT" else traded * Decimal(ticker["last"] or 0)
    return [{"volUsd": plain(total), "volCny": "", "ts": str(request.now_ms)}]


def _status(request: RestRequest) -> JsonRows:
    wanted = request.params.get("state", "")
    return [row for row in request.market.status() if wanted in ("", row["state"])]


#: Each endpoint with how many requests it takes in how many seconds.
PUBLIC: Final[dict[str, Route]] = {
    "public/time": Route(_time, 10),
    "public/instruments": Route(_instruments, 20),
    "public/funding-rate": Route(_funding_rate, 10),
    "public/funding-rate-history": Route(_funding_history, 10),
    "public/mark-price": Route(_rows_of("mark-price"), 10),
    "public/open-interest": Route(_rows_of("open-interest"), 20),
    "public/price-limit": Route(_price_limit, 20),
    "public/position-tiers": Route(_tiers, 10),
    "public/market-data-history": Route(listed_files, 2, 5.0),
    "public/underlying": Route(_underlying, 20),
    "public/convert-contract-coin": Route(_converted, 10),
    "market/index-tickers": Route(_index_tickers, 20),
    "market/tickers": Route(_tickers, 20),
    "market/ticker": Route(_ticker, 20),
    "market/books": Route(_books, 40),
    "market/books-full": Route(_full_book, 10),
    "market/candles": Route(_candles, 40),
    "market/history-candles": Route(partial(_candles, is_history=True), 20),
    "market/index-candles": Route(partial(_candles, of="index-candle", most=100), 20),
    "market/history-index-candles": Route(partial(_candles, of="index-candle", most=100, is_history=True), 10),
    "market/mark-price-candles": Route(partial(_candles, of="mark-price-candle", most=100), 20),
    "market/history-mark-price-candles": Route(
        partial(_candles, of="mark-price-candle", most=100, is_history=True), 20
    ),
    "market/trades": Route(_trades, 100),
    "market/history-trades": Route(_history_trades, 20),
    "market/platform-24-volume": Route(_volume, 2),
    "system/status": Route(_status, 1, 5.0),
}
