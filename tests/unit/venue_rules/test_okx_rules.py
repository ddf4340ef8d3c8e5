"""OKX's rules for orders, one by one: what passes, what does not, and what nobody can know."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from quantkit.errors import ConfigError
from quantkit.instruments import Instrument
from quantkit.venue_rules import okx
from quantkit.venue_rules.okx import OrderBand, Standing, WantedOrder, code_of

#: A contract is 0.01 coins; ticks and lots lie between the steps, as where the steps change within a run.
SWAP = Instrument(
    "BTC-USDT-SWAP",
    kind="swap",
    price_step="1",
    qty_step="0.1",
    min_qty="0.2",
    contract_value="0.01",
    tick="0.5",
    lot="0.05",
    max_limit_qty="100",
    max_market_qty="10",
    max_limit_value="2000",
    max_market_value="120",
)
BARE = Instrument("ETH-USDT-SWAP", kind="swap", price_step="1", qty_step="1")
COIN = Instrument(
    "BTC-USD-SWAP",
    kind="swap",
    price_step="1",
    qty_step="1",
    contract_value="100",
    is_inverse=True,
    max_limit_value="500",
)
SPOT = Instrument("BTC-USDT", price_step="1", qty_step="1", min_qty="3", max_market_value="1000")
EURO = Instrument("BTC-EUR", price_step="1", qty_step="1", max_limit_value="10", max_market_value="10")
BAND = OrderBand(200, 180)


def asked(**more: Any) -> WantedOrder:
    """Return a buy of one contract (20 lots) at 95 (190 ticks), or what is said of it."""
    fields: dict[str, Any] = {"is_buy": True, "lots": 20, "ticks": 190, **more}
    return WantedOrder(**{"left": fields["lots"], **fields})


def sold(**more: Any) -> WantedOrder:
    """Return a sale."""
    return asked(is_buy=False, **more)


CASES: list[tuple[str, WantedOrder, Instrument, Standing]] = [
    # The state.
    ("", asked(), SWAP, Standing(state="live")),
    ("", asked(), SWAP, Standing(state="a word of tomorrow")),
    ("51021", asked(), SWAP, Standing(state="preopen")),
    ("51022", asked(), SWAP, Standing(state="suspend")),
    ("51022", asked(), SWAP, Standing(state="rebase")),
    ("51027", asked(), SWAP, Standing(state="expired")),
    ("51197", asked(), SWAP, Standing(state="post_only")),
    ("", asked(post_only=True), SWAP, Standing(state="post_only")),
    ("51022", asked(post_only=True), SWAP, Standing(state="suspend")),
    # The steps.
    ("51150", asked(ticks=191), SWAP, Standing()),
    ("51020", asked(lots=2), SWAP, Standing()),
    ("51121", asked(lots=21), SWAP, Standing()),
    ("51121", asked(lots=20, left=19), SWAP, Standing()),
    ("", asked(lots=4), SWAP, Standing()),
    # Nothing is too small to close a contract whole.
    ("", sold(lots=2), SWAP, Standing(position=2)),
    ("", asked(lots=2), SWAP, Standing(position=-2)),
    ("51020", asked(lots=2), SWAP, Standing(position=2)),
    ("51020", sold(lots=2), SWAP, Standing(position=4)),
    ("51020", sold(lots=2), SPOT, Standing()),
    # The largest sizes and values.
    ("", asked(lots=2_000), SWAP, Standing()),
    ("51203", asked(lots=2_002), SWAP, Standing()),
    ("", asked(lots=200, ticks=None), SWAP, Standing(reference=200)),
    ("51202", asked(lots=202, ticks=None), SWAP, Standing(reference=200)),
    ("51185", asked(lots=2_000, ticks=4_010), SWAP, Standing()),
    ("51201", asked(lots=200, ticks=None), SWAP, Standing(reference=2_410)),
    ("", asked(lots=200, ticks=None), SWAP, Standing()),
    ("", asked(lots=10**9), BARE, Standing()),
    ("", asked(lots=10**9, ticks=None), BARE, Standing(reference=1)),
    ("", asked(lots=5, ticks=1), COIN, Standing()),
    ("51185", asked(lots=6, ticks=10**6), COIN, Standing()),
    ("51201", asked(lots=4, ticks=None), SPOT, Standing(reference=251)),
    ("", asked(lots=4, ticks=None), SPOT, Standing(reference=250)),
    ("", asked(lots=4, ticks=99), EURO, Standing()),
    ("", asked(lots=4, ticks=None), EURO, Standing(reference=99)),
    # What is sized by its fills has no size yet.
    ("", asked(lots=0, ticks=None, money=Fraction(1000)), SPOT, Standing(reference=250)),
    ("51201", asked(lots=0, ticks=None, money=Fraction(2001, 2)), SPOT, Standing(reference=250)),
    ("", asked(lots=0, ticks=None, money=Fraction(10**6)), EURO, Standing(reference=250)),
    ("", asked(lots=0, ticks=None, money=Fraction(10**6)), SWAP, Standing(reference=250)),
    # The price limit bounds the side that would take.
    ("", asked(ticks=200), SWAP, Standing(band=BAND)),
    ("51006", asked(ticks=202), SWAP, Standing(band=BAND)),
    ("", asked(ticks=2), SWAP, Standing(band=BAND)),
    ("", sold(ticks=180), SWAP, Standing(band=BAND)),
    ("51006", sold(ticks=178), SWAP, Standing(band=BAND)),
    ("", sold(ticks=900), SWAP, Standing(band=BAND)),
    ("", asked(ticks=202), SWAP, Standing(band=OrderBand(None, 180))),
    ("", asked(ticks=202, is_waiting=True), SWAP, Standing(band=BAND)),
    ("51006", asked(ticks=202, is_change=True), SWAP, Standing(band=BAND)),
    ("", asked(ticks=202, is_change=True, is_repriced=False), SWAP, Standing(band=BAND)),
    ("", asked(ticks=None), SWAP, Standing(band=BAND)),
    # Reduce-only.
    ("51169", sold(reduce_only=True), SWAP, Standing(position=0)),
    ("51170", sold(reduce_only=True), SWAP, Standing(position=-20)),
    ("51170", asked(reduce_only=True), SWAP, Standing(position=20)),
    ("", sold(reduce_only=True), SWAP, Standing(position=20)),
    ("", asked(reduce_only=True), SWAP, Standing(position=-40)),
    ("51148", sold(reduce_only=True), SWAP, Standing(position=18)),
    ("51171", sold(reduce_only=True, is_change=True), SWAP, Standing(position=18)),
    ("51112", sold(reduce_only=True), SWAP, Standing(position=18, is_leg=True)),
    ("", sold(reduce_only=True, is_change=True, left=18), SWAP, Standing(position=18)),
    ("", sold(reduce_only=True, is_waiting=True), SWAP, Standing(position=0)),
    ("", sold(reduce_only=True, lots=3), SPOT, Standing()),
    # How many orders.
    ("51016", asked(), SWAP, Standing(is_id_open=True)),
    ("", asked(), SWAP, Standing(open_orders=499, open_in_all=3_999)),
    ("51174", asked(), SWAP, Standing(open_orders=500, open_in_all=500)),
    ("51025", asked(), SWAP, Standing(open_orders=0, open_in_all=4_000)),
    ("", asked(is_change=True), SWAP, Standing(open_orders=500, open_in_all=4_000, is_id_open=True)),
    # Self-trade prevention.
    ("54036", asked(is_fok=True), SWAP, Standing(stp_mode="cancel_both")),
    ("", asked(is_fok=True), SWAP, Standing(stp_mode="cancel_taker")),
    ("", asked(), SWAP, Standing(stp_mode="cancel_both")),
    # The first that fails says why.
    ("51022", asked(lots=1, ticks=1), SWAP, Standing(state="suspend", open_orders=500)),
    ("51006", asked(ticks=202, reduce_only=True), SWAP, Standing(band=BAND, position=0)),
]


@pytest.mark.parametrize(("code", "order", "instrument", "standing"), CASES)
def test_what_is_refused_and_by_which_code(
    code: str, order: WantedOrder, instrument: Instrument, standing: Standing
) -> None:
    """A table of every check from both sides."""
    assert code_of(order, instrument, standing) == code
    assert not code or okx.REASONS[code] == f"{code}: {okx.TEXTS[code]}"


def test_every_code_but_that_of_the_window_is_in_the_table() -> None:
    """The window counts requests; it looks at no order."""
    assert {case[0] for case in CASES} - {""} == set(okx.TEXTS) - {"50011"}


def test_a_value_in_dollars_is_not_always_known() -> None:
    """An inverse contract is worth dollars at any price."""
    assert okx.dollars_of(SWAP, 20, 190) == Decimal("0.95")
    assert okx.dollars_of(SWAP, 20, None) is None
    assert okx.dollars_of(COIN, 3, None) == 300


LISTED = Instrument("BTC-USDT", price_step="1", qty_step="1", source="capture")
FOREIGN = Instrument("binance:BTC-USDT", price_step="1", qty_step="1", source="capture")


@pytest.mark.parametrize(
    ("choice", "listed", "given", "foreign"),
    [("auto", True, False, False), ("okx", True, True, True), ("off", False, False, False)],
)
def test_whose_orders_are_judged(choice: str, listed: bool, given: bool, foreign: bool) -> None:
    """Only OKX's own listing says that an instrument is OKX's."""
    assert [okx.applies(choice, each) for each in (LISTED, SPOT, FOREIGN)] == [listed, given, foreign]


@pytest.mark.parametrize("value", ["on", "OKX", 1, None])
def test_bad_choices_take_one_line(value: object) -> None:
    """The message names what there is."""
    with pytest.raises(ConfigError) as refused:
        okx.check_venue_rules(value)
    assert str(refused.value) == f"venue_rules is {value!r}; use one of auto, okx, off"
    with pytest.raises(ConfigError) as refused:
        okx.check_stp_mode(value)
    assert str(refused.value) == f"stp_mode is {value!r}; use one of cancel_maker, cancel_taker, cancel_both"
