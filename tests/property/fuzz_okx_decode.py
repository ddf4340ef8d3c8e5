"""The fuzz target of the OKX decoder, with its corpus: `python tests/property/fuzz_okx_decode.py -runs=1000000`.

Run by hand it needs atheris (`pip install atheris`), which is no requirement of the tests; they feed `take_any` the
corpus and their own bytes.
"""

import sys
from contextlib import suppress

from quantkit.clock import NS_PER_S
from quantkit.errors import ParseError
from quantkit.events import BookUpdate, Candle, Ticker, Trade
from quantkit.feeds.okx.codec.decode import (
    BookData,
    FormingCandle,
    FrameError,
    MarketData,
    TradeData,
    decode,
    decode_instruments,
)

_TS = b"1597026383085"
#: One frame of each kind, small and whole.
CORPUS = (
    b"pong",
    b'{"arg":{"channel":"tickers","instId":"A-B"},"data":[{"instId":"A-B","last":"9.5","lastSz":"0","askPx":"9.6",'
    b'"askSz":"1","bidPx":"","bidSz":"","ts":"%s"}]}' % _TS,
    b'{"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"13","px":"9.5","sz":"0.1",'
    b'"side":"buy","ts":"%s","count":"3","source":"0","seqId":1234}]}' % _TS,
    b'{"arg":{"channel":"trades-all","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"13","px":"9.5","sz":"0.1",'
    b'"side":"sell","ts":"%s"}]}' % _TS,
    b'{"arg":{"channel":"books","instId":"A-B"},"action":"snapshot","data":[{"asks":[["9.6","4","0","13"]],'
    b'"bids":[["9.5","2","0","12"]],"ts":"%s","checksum":-855196043,"prevSeqId":-1,"seqId":123456}]}' % _TS,
    b'{"arg":{"channel":"books","instId":"A-B"},"action":"update","data":[{"asks":[["9.6","0","0","0"]],"bids":[],'
    b'"ts":"%s","checksum":0,"prevSeqId":123456,"seqId":123457}]}' % _TS,
    b'{"arg":{"channel":"books5","instId":"A-B"},"data":[{"asks":[],"bids":[["1","2","0","1"]],"instId":"A-B",'
    b'"ts":"%s","seqId":5}]}' % _TS,
    b'{"arg":{"channel":"bbo-tbt","instId":"A-B"},"data":[{"asks":[["9.6","4","0","1"]],"bids":[["9.5","2","0","1"]],'
    b'"ts":"%s","seqId":5}]}' % _TS,
    b'{"arg":{"channel":"candle1m","instId":"A-B"},"data":[["%s","8","9","7","8.5","45","529","529","1"]]}' % _TS,
    b'{"arg":{"channel":"candle1D","instId":"A-B"},"data":[["%s","8","9","7","8.5","45","529","529","0"]]}' % _TS,
    b'{"arg":{"channel":"funding-rate","instId":"A-B-SWAP"},"data":[{"instId":"A-B-SWAP","fundingRate":"0.018",'
    b'"fundingTime":"%s","settState":"settled","settFundingRate":"0.1","ts":"%s"}]}' % (_TS, _TS),
    b'{"arg":{"channel":"mark-price","instId":"A-B"},"data":[{"instId":"A-B","markPx":"0.1","ts":"%s"}]}' % _TS,
    b'{"arg":{"channel":"index-tickers","instId":"A-B"},"data":[{"instId":"A-B","idxPx":"0.1","ts":"%s"}]}' % _TS,
    b'{"arg":{"channel":"open-interest","instId":"A-B"},"data":[{"instId":"A-B","oi":"5","oiCcy":"","ts":"%s"}]}' % _TS,
    b'{"arg":{"channel":"instruments","instType":"SPOT"},"data":[{"instType":"SPOT","instId":"A-B","tickSz":"0.1"}]}',
    b'{"arg":{"channel":"status"},"data":[{"title":"x","state":"scheduled","begin":"1610019546","end":"%s"}]}' % _TS,
    b'{"arg":{"channel":"account","uid":"1"},"eventType":"snapshot","curPage":1,"lastPage":true,"data":[{"totalEq":"1",'
    b'"uTime":"%s","details":[{"ccy":"BTC","cashBal":"1.5"}]}]}' % _TS,
    b'{"arg":{"channel":"positions","instType":"ANY"},"data":[{"instId":"A-B-SWAP","pos":"-1","tradeId":"2"}]}',
    b'{"arg":{"channel":"balance_and_position"},"data":[{"pTime":"%s","eventType":"filled","balData":[{"ccy":"B"}],'
    b'"posData":[{"instId":"A-B"}],"trades":[{"instId":"A-B","tradeId":"1"}]}]}' % _TS,
    b'{"arg":{"channel":"orders","instType":"ANY"},"data":[{"instId":"A-B","ordId":"1","px":"2","reduceOnly":"true"}]}',
    b'{"arg":{"channel":"fills"},"data":[{"instId":"A-B","ordId":"1","fillPx":"2","ts":"%s"}]}' % _TS,
    b'{"event":"subscribe","arg":{"channel":"books","instId":"A-B"},"id":"1512","connId":"accb8e21"}',
    b'{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}',
    b'{"event":"error","msg":"no","code":60018,"id":"7"}',
    b'{"event":"notice","code":"64008","msg":"soon","connId":"c"}',
    b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"c"}',
    b'{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"A-B","tickSz":"0.1","lotSz":"1","minSz":"1"}]}',
)
_FIRST_NS = 10**9 * NS_PER_S
_END_NS = 2**63


def take_any(data: bytes) -> None:
    """Decode bytes as a frame and as a list of instruments; whatever they are, the outcome is one that is promised.

    Raises:
        AssertionError: It is not.
    """
    try:
        messages = decode(data, received_ns=1)
    except FrameError as error:
        assert str(error).startswith(error.where)  # noqa: PT017
    else:
        assert isinstance(messages, list)
        for message in messages:
            _check(message)
            repr(message)
    with suppress(ParseError):
        decode_instruments(data)


def _check(message: object) -> None:
    """Hold what is delivered against what its type promises."""
    match message:
        case MarketData(event=Ticker() as quote):
            assert all(price is None or 0 < price < 1e24 for price in (quote.bid, quote.ask, quote.last))
            assert all(qty is None or 0 < qty < 1e24 for qty in (quote.bid_qty, quote.ask_qty, quote.last_qty))
            assert _FIRST_NS <= quote.exchange_ns < _END_NS
        case MarketData(event=Candle() as candle) | FormingCandle(candle=candle):
            assert 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
            assert _FIRST_NS <= candle.open_ns < candle.close_ns < _END_NS
        case TradeData(event=Trade() as trade):
            assert 0 < trade.price < 1e24
            assert 0 < trade.qty < 1e24
            assert _FIRST_NS <= trade.exchange_ns < _END_NS
            assert -_END_NS <= trade.trade_id < _END_NS
        case BookData(update=BookUpdate() as update):
            assert all(0 < price < 1e24 for price in update.bid_prices + update.ask_prices)
            assert all(0 <= qty < 1e24 for qty in update.bid_qtys + update.ask_qtys)
            assert len(update.bid_prices) == len(update.bid_qtys) == len(message.bid_texts[0])
            assert len(update.ask_prices) == len(update.ask_qtys) == len(message.ask_texts[0])
            assert -1 <= update.seq < _END_NS
            assert -1 <= update.prev_seq < _END_NS
        case _:
            pass


def main() -> None:
    """Fuzz with the corpus as its seed."""
    import tempfile
    from pathlib import Path

    import atheris

    # What the decoder calls in C is opaque to the fuzzer; the Python around it is not.
    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(CORPUS):
            (Path(folder) / f"{number:02}").write_bytes(frame)
        atheris.Setup([*sys.argv, "-max_len=4096", folder], take_any)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
