"""What liquidation and bankruptcy prices are: where the ratio is one, and where nothing is left."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as generators

from quantkit.instruments import Instrument
from quantkit.margin import ContractTerms, MarginTerms, MarginTier, MarginTiers, OpenContract, margin_ratio
from quantkit.margin_account import MarginAccount
from quantkit.portfolio import Portfolio

_AMOUNT = generators.fractions(min_value="0.01", max_value=1_000)
_RATE = generators.fractions(min_value="0.001", max_value="0.4")
_CONTRACT = generators.builds(OpenContract, _AMOUNT | _AMOUNT.map(lambda size: -size), _AMOUNT, generators.booleans())
_SWAPS = [
    Instrument(f"{name}-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value=value)
    for name, value in (("AAA", "0.01"), ("BBB", "1"), ("CCC", "0.1"))
]
_NUMBER = generators.integers(1, 10_000)


@given(_CONTRACT, _AMOUNT, _RATE)
def test_at_its_liquidation_price_the_ratio_is_one(held: OpenContract, margin: Fraction, rates: Fraction) -> None:
    """It is above one on the safe side of it, and below on the other; without such a price it always is above."""
    price = held.liquidation_price(margin, rates)

    def ratio(at: Fraction) -> Fraction:
        return margin_ratio(margin, held.unrealised(at), held.notional(at) * rates)

    if price is None:
        assert all(ratio(Fraction(at)) > 1 for at in ("0.001", 1, 10**9))
        return
    assert ratio(price) == 1
    better = Fraction(11, 10) if held.size > 0 else Fraction(10, 11)
    assert ratio(price * better) > 1 > ratio(price / better)


@given(_CONTRACT, _AMOUNT)
def test_at_its_bankruptcy_price_nothing_is_left(held: OpenContract, margin: Fraction) -> None:
    price = held.bankruptcy_price(margin)
    assert price is None or margin + held.unrealised(price) == 0


@given(
    generators.lists(
        generators.tuples(_NUMBER | _NUMBER.map(lambda lots: -lots), _NUMBER, _NUMBER), min_size=1, max_size=3
    ),
    _NUMBER,
    _RATE,
    generators.booleans(),
)
def test_what_is_taken_over_costs_the_margin(
    positions: list[tuple[int, int, int]], cash: int, rate: Fraction, is_cross: bool
) -> None:
    """The whole of it, whatever the marks; each position ends at a price at which it costs its part."""
    swaps = _SWAPS[: len(positions)]
    tiers = MarginTiers([MarginTier(Decimal(10**6), Decimal(f"{float(rate):.4f}"), Decimal(10))], "all")
    terms = {swap.id: ContractTerms(Fraction(10), tiers, Fraction(0), Fraction(10**6)) for swap in swaps}
    marks = {swap.id: float(mark) for swap, (_, _, mark) in zip(swaps, positions, strict=True)}
    portfolio = Portfolio({"USDT": cash}, swaps, mark_of=marks.get)
    account = MarginAccount(portfolio, MarginTerms(is_cross, terms))
    for swap, (lots, price, _) in zip(swaps, positions, strict=True):
        portfolio._own(swap.id).trade(Decimal(lots), lots * price * swap.contract_value)
    scopes = [portfolio.open_contracts("USDT")]
    if not is_cross:
        scopes = [[position] for position in scopes[0]]
    for scope in scopes:
        marked = account.marked(scope, marks.get)
        assert marked is not None
        taken = account.taken_over(marked)
        assert sum(each.loss for each in taken) == account.margin_of(scope)
        for each, own in zip(taken, marked, strict=True):
            assert each.price is None or own.contract.unrealised(each.price) == -each.loss
