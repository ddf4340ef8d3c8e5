"""Margin by OKX's own numbers, amounts to the printed digit, ratios and prices to 1e-11; and tiers as data."""

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from quantkit.errors import ConfigError
from quantkit.events import PositionTier
from quantkit.instruments import Instrument
from quantkit.margin import (
    MarginTier,
    MarginTiers,
    OpenContract,
    family_of,
    leverage_of,
    margin_ratio,
    read_tiers,
    shown_liquidation_price,
    terms_of,
)

NEAR = 1e-11


def exact(text: str) -> Fraction:
    return Fraction(text)


def is_printed(amount: Fraction, text: str) -> bool:
    """Whether an amount is what was printed, to the last of its digits."""
    places = len(text.partition(".")[2])
    return bool(abs(amount - Fraction(text)) <= Fraction(1, 2) / 10**places)


def near(amount: Fraction | None, text: str) -> bool:
    assert amount is not None
    return abs(amount / Fraction(text) - 1) < NEAR


@dataclass
class Frame:
    """A position as an account printed it."""

    contracts: str  # signed
    unit: str
    entry: str
    mark: str
    rate: str
    fee: str
    inverse: bool = False
    held: OpenContract = field(init=False)

    def __post_init__(self) -> None:
        size, entry = exact(self.contracts) * exact(self.unit), exact(self.entry)
        cost = abs(size) / entry if self.inverse else abs(size) * entry
        self.held = OpenContract(size, cost, self.inverse)

    @property
    def rates(self) -> Fraction:
        return exact(self.rate) + exact(self.fee)

    def at_mark(self, rate: str) -> Fraction:
        return self.held.notional(exact(self.mark)) * exact(rate)

    @property
    def profit(self) -> Fraction:
        return self.held.unrealised(exact(self.mark))

    def ratio(self, margin: Fraction, mark: str | None = None) -> Fraction:
        price = exact(mark or self.mark)
        return margin_ratio(margin, self.held.unrealised(price), self.held.notional(price) * self.rates)


def test_isolated_long_of_an_inverse_future() -> None:
    """Vector 1: the sample of the documentation."""
    frame = Frame("1", "10", "2566.31", "2565.656", "0.008", "0.0005", inverse=True)
    margin = frame.held.open_value / 10
    assert is_printed(margin, "0.0003896645377994")
    assert is_printed(frame.profit, "-0.0000009932766034")
    assert is_printed(frame.at_mark("0.008"), "0.0000311811092368")
    # The sample prints 11.731726509588816 for a mark that it does not print: twelve digits agree.
    assert near(frame.ratio(margin), "11.7317265095821")
    assert abs(frame.ratio(margin) / exact("11.731726509588816") - 1) < 1e-12
    raw = frame.held.liquidation_price(margin, frame.rates)
    assert near(raw, "2352.839668181822841")
    assert raw is not None
    assert near(shown_liquidation_price(raw, exact("0.01"), is_long=True), "2352.8496681818233")
    assert near(frame.profit / margin, "-0.0025490556801078")


def test_isolated_short_of_a_linear_swap() -> None:
    """Vector 2: an account of September 2022."""
    frame = Frame("-1", "0.1", "1333", "1274.09", "0.004", "0.0005")
    margin = frame.held.open_value / 16
    assert is_printed(margin, "8.33125")
    assert is_printed(frame.profit, "5.891")
    assert is_printed(frame.at_mark("0.004"), "0.509636")
    assert near(frame.ratio(margin), "24.805939925750945")
    raw = frame.held.liquidation_price(margin, frame.rates)
    assert near(raw, "1409.967645594823")
    assert raw is not None
    assert near(shown_liquidation_price(raw, exact("0.01"), is_long=False), "1409.9576455948234")
    # OKX counts in floats: the last digits of its ratios are noise.
    assert near(frame.profit / margin, "0.7070967741935501")


def test_funding_leaves_isolated_margin_and_opening_fees_leave_the_balance() -> None:
    """Vector 3: an account of August 2024."""
    frame = Frame("16.5", "0.001", "60346.5", "60349.6", "0.004", "0.0005")
    initial = frame.held.open_value
    margin = initial - exact("0.1491539875899736")
    assert is_printed(initial, "995.71725")
    assert is_printed(margin, "995.5680960124100264")
    assert is_printed(initial * exact("0.0005"), "0.497858625")
    assert is_printed(frame.at_mark("0.004"), "3.9830736")
    assert is_printed(frame.profit, "0.05115")
    assert near(frame.ratio(margin), "222.18893603782877")
    raw = frame.held.liquidation_price(margin, frame.rates)
    # Nearly all of the price is margin: what is left of it has lost digits in OKX's floats.
    assert raw is not None
    assert near(raw, "9.0804978518468624")
    assert near(shown_liquidation_price(raw, exact("0.1"), is_long=True), "9.180497851849")
    assert near(frame.profit / initial, "0.0000513700048883") or is_printed(
        frame.profit / initial, "0.0000513700048883"
    )
    charges = exact("0.1491539875899736")
    break_even = (exact("60346.5") * (1 + exact("0.0005")) + charges / exact("0.0165")) / (1 - exact("0.0005"))
    assert near(break_even, "60415.92084603453")


@pytest.mark.parametrize(
    ("frame", "leverage", "balance", "printed"),
    [
        (  # Vector 4
            Frame("3", "100", "102455.3932455492420727", "103525.5", "0.004", "0.0003", inverse=True),
            5,
            "",
            {
                "imr": "0.000579567352971",
                "mmr": "0.0000115913470594",
                "upl": "0.0000302667785183",
                "ratio": "121.3824443640013",
                "equity": "0.00151250999249",
                "liq": "68314.35634780500",
                "upl_ratio": "0.051683244922785",
            },
        ),
        (  # Vector 5
            Frame("1", "10", "1338.67", "1340.22", "0.004", "0.0005", inverse=True),
            3,
            "0.0326728819168451",
            {
                "imr": "0.0024871538503629",
                "mmr": "0.0000298458462044",
                "upl": "0.0000086393699748",
                "ratio": "973.3428546449297",
                "liq": "250.2305332057643",
            },
        ),
    ],
)
def test_cross_positions_of_inverse_swaps(frame: Frame, leverage: int, balance: str, printed: dict[str, str]) -> None:
    """Vectors 4 and 5: accounts of May 2025 and September 2022; the one has its equity from its ratio."""
    notional = frame.held.notional(exact(frame.mark))
    assert is_printed(notional / leverage, printed["imr"])
    assert is_printed(frame.at_mark(frame.rate), printed["mmr"])
    assert is_printed(frame.profit, printed["upl"])
    margin = exact(balance) if balance else exact(printed["ratio"]) * notional * frame.rates - frame.profit
    assert near(frame.ratio(margin), printed["ratio"])
    if "equity" in printed:
        # Our own count of an equity that is not printed, from the liquidation price: eleven digits agree.
        assert abs((margin + frame.profit) / exact(printed["equity"]) - 1) < 2e-11
        assert near(frame.profit / (frame.held.open_value / leverage), printed["upl_ratio"])
    assert near(frame.held.liquidation_price(margin, frame.rates), printed["liq"])


def test_realised_profit_of_a_position_is_profit_fees_and_funding() -> None:
    """Vector 4 once more: to the printed digit."""
    parts = ("0.000029088565444", "-0.0000032466659157", "-0.0000005135929239")
    assert sum(map(exact, parts)) == exact("0.0000253283066044")


def test_small_cross_positions() -> None:
    """Vector 6: two accounts of 2023."""
    litecoin = Frame("1", "0.001", "70.01", "70.01", "0.005", "0.0005")
    assert is_printed(litecoin.at_mark("1") / 3, "0.0233366666666667")
    assert is_printed(litecoin.at_mark("0.005"), "0.00035005")
    assert is_printed(-litecoin.held.open_value * exact("0.0005"), "-0.000035005")
    assert near(exact("70.01") * (1 + exact("0.0005")) / (1 - exact("0.0005")), "70.08004502251126")
    ripple = Frame("3", "100", "0.5451", "0.5451", "0.005", "0.0005")
    assert is_printed(ripple.at_mark("1") / 3, "54.51")
    assert is_printed(ripple.at_mark("0.005"), "0.81765")


def test_a_short_of_an_inverse_swap() -> None:
    """Vector 8."""
    frame = Frame("-100", "100", "60000", "63000", "0.004", "0.0005", inverse=True)
    margin = frame.held.open_value / 10
    assert is_printed(margin, "0.0166666667")
    raw = frame.held.liquidation_price(margin, frame.rates)
    assert raw is not None
    assert is_printed(raw, "66366.6666667")
    assert is_printed(shown_liquidation_price(raw, exact("0.1"), is_long=False), "66366.5666667")
    assert is_printed(frame.profit, "-0.00793650793651")
    assert is_printed(frame.ratio(margin), "12.2222222")


def test_a_long_that_is_liquidated() -> None:
    """Vector 9: safe at one mark, liquidated at the next."""
    frame = Frame("100", "0.01", "80000", "76500", "0.004", "0.0005")
    margin = frame.held.open_value / 20
    assert margin == 4000
    raw = frame.held.liquidation_price(margin, frame.rates)
    assert raw is not None
    assert is_printed(raw, "76343.5459568056")
    assert is_printed(shown_liquidation_price(raw, exact("0.1"), is_long=True), "76343.6459568")
    assert frame.held.bankruptcy_price(margin) == 76_000
    with_fee = frame.held.bankruptcy_price(margin, exact("0.0005"))
    assert with_fee is not None
    assert is_printed(with_fee, "76038.0190095")
    for mark, ratio in (("76500", "1.4524328"), ("76343.6", "1.0001566"), ("76343", "0.9984180")):
        assert is_printed(frame.ratio(margin, mark), ratio)
        assert (frame.ratio(margin, mark) > 1) is (exact(mark) > raw)


def test_a_cross_account_of_two_swaps() -> None:
    """Vector 10: initial margin beyond the equity opens nothing, and liquidates nothing."""
    bitcoin = Frame("100", "0.01", "80000", "78000", "0.004", "0.0005")
    ether = Frame("-200", "0.1", "2600", "2650", "0.004", "0.0005")
    both = (bitcoin, ether)
    assert [frame.profit for frame in both] == [-2000, -1000]
    assert sum(frame.at_mark("0.1") for frame in both) == 13_100
    assert sum(frame.at_mark("0.004") for frame in both) == 524
    assert sum(frame.at_mark("0.0005") for frame in both) == exact("65.5")
    required = sum((frame.at_mark("0.0045") for frame in both), Fraction(0))
    assert near(margin_ratio(Fraction(10_000), Fraction(-3000), required), "11.874469889737")


def test_funding_of_both_kinds() -> None:
    """Vector 11."""
    rate, mark = exact("0.0000341625964238"), exact("83679.8")
    linear, inverse = OpenContract(Fraction(1), Fraction(1)), OpenContract(Fraction(10_000), Fraction(1), True)
    assert is_printed(-rate * linear.notional(mark), "-2.8587192362243")
    assert is_printed(-rate * inverse.notional(mark), "-0.00000408253801082")


def test_there_may_be_no_liquidation_price() -> None:
    """Unlevered longs of linear contracts and shorts of inverse ones are never liquidated."""
    long = OpenContract(Fraction(1), Fraction(100))
    assert long.liquidation_price(Fraction(100), Fraction(0)) is None
    assert long.liquidation_price(Fraction(120), Fraction("0.01")) is None
    short = OpenContract(Fraction(-100), Fraction(1), is_inverse=True)
    assert short.liquidation_price(Fraction(1), Fraction("0.01")) is None
    assert short.bankruptcy_price(Fraction(1, 2)) == 200


# Tiers ----------------------------------------------------------------------------------------------------------------


TIERS = MarginTiers(
    (MarginTier(Decimal(size), Decimal(rate), Decimal(most)) for size, rate, most in
     ((2000, "0.005", 50), (1000, "0.004", 100), (3000, "0.01", 20))),
    "BTC-USDT",
)  # fmt: skip


def test_a_size_is_in_the_first_tier_that_holds_it() -> None:
    """The whole position has the rate of its one tier; beyond the last it is the last one's."""
    sizes = ("0.5", "1000", "1000.1", "2000", "2001", "9999")
    assert [TIERS.rate(exact(size)) for size in sizes] == [
        exact(rate) for rate in ("0.004", "0.004", "0.005", "0.005", "0.01", "0.01")
    ]


def test_a_leverage_bounds_the_size() -> None:
    assert [TIERS.largest(Decimal(leverage)) for leverage in (1, 20, 21, 75, 100, 101)] == [
        3000, 3000, 2000, 1000, 1000, 0
    ]  # fmt: skip


def test_tiers_come_from_rows_that_were_recorded() -> None:
    rows = [
        PositionTier("X", 1, 1, "isolated", 1, 0.0, 1000.0, 0.004, 0.01, 100.0),
        PositionTier("X", 1, 1, "isolated", 2, 1000.0, 2000.0, 0.005, 0.02, 50.0),
    ]
    found = MarginTiers.of_rows(rows, "X")
    assert found.rows[0] == MarginTier(Decimal("1000.0"), Decimal("0.004"), Decimal("100.0"))
    assert found.rate(exact("1500")) == exact("0.005")


REPLY = (
    '{"code":"0","data":[{"instFamily":"BTC-USDT","tier":"1","minSz":"0","maxSz":"1000","mmr":"0.004","imr":"0.01",'
    '"maxLever":"100"},{"instFamily":"ETH-USDT","tier":"1","minSz":"0","maxSz":"5000","mmr":"0.005","imr":"0.01",'
    '"maxLever":"100"}],"msg":""}'
)
TABLE = (
    "instFamily,tier,minSz,maxSz,mmr,imr,maxLever\nBTC-USDT,1,0,1000,0.004,0.01,100\nETH-USDT,1,0,5000,0.005,0.01,100\n"
)


@pytest.mark.parametrize("text", [REPLY, REPLY[REPLY.index("[") : REPLY.rindex("]") + 1], TABLE])
def test_tiers_come_from_a_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiers"
    path.write_text(text)
    found = read_tiers(str(path))
    assert found == {
        "BTC-USDT": [MarginTier(Decimal(1000), Decimal("0.004"), Decimal(100))],
        "ETH-USDT": [MarginTier(Decimal(5000), Decimal("0.005"), Decimal(100))],
    }
    assert read_tiers(found) == found
    assert read_tiers({"X": [{"max_qty": "1", "maintenance_rate": "0.1", "max_leverage": "5"}]}) == {
        "X": [MarginTier(Decimal(1), Decimal("0.1"), Decimal(5))]
    }
    assert read_tiers(None) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows with the columns instFamily, tier"),
        ("a,b\n1,2\n", r"not rows with the columns instFamily, .*, maxLever \(there is no maxSz\)$"),
        ("{}", "not rows with the columns"),
        ("[1]", "not rows with the columns"),
        ("[", "not rows with the columns"),
        (TABLE.replace("1000", "many"), "not rows with the columns"),
    ],
)
def test_a_file_that_holds_no_tiers_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tiers.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_tiers(path)
    assert "\n" not in str(error.value)


def test_other_things_are_no_tiers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read: No such file or directory$"):
        read_tiers(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"bytes\.json cannot be read: it is no text$"):
        read_tiers(tmp_path / "bytes.json")
    with pytest.raises(ConfigError, match="give a JSON or CSV file"):
        read_tiers(5)
    with pytest.raises(ConfigError, match="tiers of X"):
        read_tiers({"X": [{"max_qty": "1"}]})
    with pytest.raises(ConfigError, match="no position tiers"):
        MarginTiers((), "X")
    with pytest.raises(ConfigError, match="cannot be"):
        MarginTiers([MarginTier(Decimal(1), Decimal(1), Decimal(1))], "X")


def test_terms_of_a_contract() -> None:
    swap = Instrument("okx:BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
    assert family_of(swap) == "BTC-USDT"
    terms = terms_of(swap, Decimal(30), TIERS, Decimal("-0.0001"))
    assert (terms.leverage, terms.fee_rate, terms.largest) == (Fraction(30), Fraction(0), Fraction(2000))
    with pytest.raises(ConfigError, match="leverage is 125; its position tiers allow at most 100"):
        terms_of(swap, Decimal(125), TIERS, Decimal(0))
    assert leverage_of(Decimal(3), "X") == 3
    assert [leverage_of({"X": Decimal(3), "*": Decimal(2)}, name) for name in "XY"] == [3, 2]
    assert leverage_of({"X": Decimal(3)}, "Y") == 1
