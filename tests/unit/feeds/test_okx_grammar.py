"""Numbers, times and ids of OKX pass one strict grammar."""

from decimal import Decimal

import pytest

from quantkit.errors import ParseError
from quantkit.feeds.okx.codec import grammar
from quantkit.feeds.okx.codec.grammar import Remembered

#: What `float`, `int` and `Decimal` would take, or JSON, and OKX never sends.
JUNK = (
    "nan",
    "NaN",
    "inf",
    "Infinity",
    "-Infinity",
    "1e5",
    "1E5",
    "1e400",
    "1e-3",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "1_000",
    "1,000",
    "1.",
    ".5",
    "1.5.2",
    "--1",
    "0x10",
    "١",
    "１",
    "¹",
    "9" * 25,
    "0." + "1" * 25,
    "9" * 400,
    "null",
    "-",
)


@pytest.mark.parametrize("text", [*JUNK, ""])
def test_junk_is_no_number(text: str) -> None:
    for read in (grammar.number, grammar.price, grammar.qty, grammar.traded_qty, grammar.amount):
        with pytest.raises(ParseError):
            read(text)
    for read_many in (grammar.prices, grammar.qtys):
        with pytest.raises(ParseError):
            read_many(["1", text, "2"])
        with pytest.raises(ParseError):
            read_many([text])


@pytest.mark.parametrize("text", JUNK)
def test_junk_is_no_optional_number_either(text: str) -> None:
    for read in (grammar.optional_price, grammar.optional_qty):
        with pytest.raises(ParseError):
            read(text)


def test_no_value_is_none() -> None:
    assert grammar.optional_price("") is None
    assert grammar.optional_price("0") is None
    assert grammar.optional_qty("") is None
    assert grammar.optional_qty("0.0") is None
    assert grammar.optional_price("0.5") == 0.5


def test_numbers_are_the_floats_nearest_to_their_texts() -> None:
    assert grammar.number("0.00000074528") == 7.4528e-07
    assert grammar.prices(["0.1", "78722.7"]) == (0.1, 78722.7)
    assert grammar.prices([]) == grammar.qtys(()) == ()
    assert str(grammar.qty("-0")) == "0.0"
    assert str(grammar.qtys(["-0", "1"])) == "(0.0, 1.0)"


def test_money_is_exact() -> None:
    assert grammar.amount("45078.37909075622685" + "17751") == Decimal("45078.3790907562268517751")
    assert grammar.amount("-0.010000249968") == Decimal("-0.010000249968")


@pytest.mark.parametrize("text", ["0", "0.0", "-1"])
def test_prices_and_traded_sizes_are_above_zero(text: str) -> None:
    for read in (grammar.price, grammar.traded_qty):
        with pytest.raises(ParseError):
            read(text)
    with pytest.raises(ParseError):
        grammar.prices(["1", text])


@pytest.mark.parametrize("text", ["-1", "-0.5"])
def test_sizes_are_not_below_zero(text: str) -> None:
    with pytest.raises(ParseError):
        grammar.qty(text)
    with pytest.raises(ParseError):
        grammar.qtys(["1", text])
    for read in (grammar.optional_price, grammar.optional_qty):
        with pytest.raises(ParseError):
            read(text)


@pytest.mark.parametrize("row", [["1", 2], [None], [1.5], [["1"]]])
def test_levels_are_texts(row: list[str]) -> None:
    with pytest.raises(ParseError, match="else than texts"):
        grammar.prices(row)
    with pytest.raises(ParseError, match="else than texts"):
        grammar.qtys(row)


@pytest.mark.parametrize(
    "text",
    ["", "0", "1597026383", "1597026383085000", "1597026383085000000", "999999999999", "4000000000000",
     "-1597026383085", "1597026383085.0", "1_97026383085", " 1597026383085", "١٥٩٧٠٢٦٣٨٣٠٨٥"],
)  # fmt: skip
def test_times_are_milliseconds_of_this_century(text: str) -> None:
    with pytest.raises(ParseError, match="milliseconds"):
        grammar.time_ns(text)


def test_times_at_the_edges() -> None:
    assert grammar.time_ns("1000000000000") == 10**18
    assert grammar.time_ns("3999999999999") == 3_999_999_999_999 * 10**6 < 2**63


@pytest.mark.parametrize("text", ["1.0", "1e3", "9" * 19, " 1", "1_0", "+1"])
def test_whole_numbers_are_digits(text: str) -> None:
    with pytest.raises(ParseError):
        grammar.whole(text)
    assert grammar.whole("") == 0
    assert grammar.whole("-12") == -12


def test_what_is_remembered_is_bounded_and_never_wrong() -> None:
    asked: list[str] = []

    def parse(text: str) -> int:
        asked.append(text)
        return grammar.whole(text)

    known = Remembered(parse)
    texts = [str(number) for number in range(50_000)]
    assert [known[text] for text in texts] == list(range(50_000))
    assert len(known) <= 16_384
    assert known["49999"] == 49_999
    assert len(asked) == 50_000
    for _ in range(2):
        with pytest.raises(ParseError):
            known["x"]
    assert "x" not in known
