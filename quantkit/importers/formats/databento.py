"""Databento's CSV files: prices as whole billionths or with a point, receipt and exchange stamps."""

from typing import Final

from quantkit.importers.formats.record import OHLC, OHLCV, Format, Named

_BILLION: Final = 10**9
_HEAD: Final = "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,"
_TRADES: Final = _HEAD + "depth,price,size,flags,ts_in_delta,sequence"
_BEST: Final = ",bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00"
#: Without a mapping of symbols only the number of the instrument is there.
_SYMBOL: Final = "symbol|instrument_id"
_LEVEL: Final = ("bid", "bid_qty", "ask", "ask_qty")
_STAMPS: Final = {"time": "ts_event", "received": "ts_recv", "instrument": _SYMBOL}


def databento(symbol: str) -> Named:
    """Return what a raw symbol stands for; it tells neither currency nor multiplier."""
    name = symbol.upper().replace(" ", "_").replace("/", "_")
    return Named(f"databento:{name}", {"kind": "spot", "base": name})


FORMATS: Final = (
    Format(
        name="databento/candles",
        title="Databento candles (ohlcv)",
        holds="candle",
        headers=("ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume",),
        columns=OHLCV | {"time": "ts_event", "instrument": _SYMBOL},
        scales=dict.fromkeys(OHLC, _BILLION),
        instrument=databento,
        skips_quiet=True,
    ),
    Format(
        name="databento/trades",
        title="Databento trades",
        holds="trade",
        headers=(_TRADES,),
        columns={**_STAMPS, "side": "side", "price": "price", "qty": "size", "action": "action"},
        scales={"price": _BILLION},
        instrument=databento,
        keep={"action": frozenset("T")},
        # B is the buyer who took, A the seller.
        unsided=frozenset("n"),
    ),
    Format(
        name="databento/quotes",
        title="Databento best bid and offer (mbp-1)",
        holds="ticker",
        headers=(_TRADES + _BEST,),
        columns={
            **_STAMPS,
            "bid": "bid_px_00",
            "ask": "ask_px_00",
            "bid_qty": "bid_sz_00",
            "ask_qty": "ask_sz_00",
        },
        scales={"bid": _BILLION, "ask": _BILLION},
        instrument=databento,
    ),
    Format(
        name="databento/depth",
        title="Databento order books of ten levels (mbp-10)",
        holds="book",
        headers=(_TRADES + _BEST + ",bid_px_01,ask_px_01",),
        columns={**_STAMPS, "price": "price"},
        levels={part: f"{part[:3]}_{'sz' if 'qty' in part else 'px'}_{{n:02d}}" for part in _LEVEL},
        scales={"price": _BILLION},
        instrument=databento,
        reader="snapshots",
    ),
    Format(
        name="databento/orders",
        title="Databento single orders (mbo)",
        holds="none",
        headers=("ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id",),
        left_out="quantkit has no event for single orders of others",
    ),
)
