"""The funding that an isolated margin has in it: of what is open, and of nothing else."""

from decimal import Decimal
from fractions import Fraction

from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio

SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")


def traded(portfolio: Portfolio, lots: int) -> None:
    """Book a signed fill at 100."""
    portfolio.apply(
        Fill(
            id=1,
            order_id="x",
            instrument=SWAP.id,
            side=Side.BUY if lots > 0 else Side.SELL,
            price=100.0,
            qty=SWAP.qty(abs(lots)),
            value=SWAP.value(abs(lots), 100),
            fee=Decimal(0),
            fee_currency="USDT",
            role="taker",
            filled_ns=0,
            revealed_ns=0,
            why="",
            tag="",
            lots=abs(lots),
            ticks=100,
        )
    )


def charged(portfolio: Portfolio, rate: float) -> None:
    """Charge funding at 100 on what is held, or on 10 where nothing is any more."""
    held = portfolio.position(SWAP.id).qty
    portfolio.charge_funding(SWAP.id, rate=rate, mark=100.0, qty=held or Decimal(10))


def test_funding_goes_along_with_what_is_open() -> None:
    portfolio = Portfolio({"USDT": 10_000}, [SWAP], mark_of={SWAP.id: 100.0}.get)
    position = portfolio.position(SWAP.id)
    traded(portfolio, 9)
    assert (position.margin_funding, position.has_margin_funding) == (0, False)
    charged(portfolio, 0.01)
    assert (position.margin_funding, position.has_margin_funding) == (-9, True)
    traded(portfolio, 3)  # what is added brings none
    assert position.margin_funding == -9
    traded(portfolio, -5)
    # Seven twelfths, to 1e-16.
    assert position.margin_funding == Fraction(-round(Fraction(9 * 7, 12) * 10**16), 10**16)
    traded(portfolio, -7)
    assert position.margin_funding == 0
    charged(portfolio, 0.01)  # told late: nothing is open that it could go into
    assert position.margin_funding == 0
    traded(portfolio, 2)
    charged(portfolio, -0.01)
    assert position.margin_funding == 2
    traded(portfolio, -3)  # a flip is another position
    assert position.margin_funding == 0
    assert portfolio.balance("USDT") == 10_000 - 9 - 10 + 2


def test_a_third_is_rounded_once_for_each_fill() -> None:
    portfolio = Portfolio({"USDT": 10_000}, [SWAP], mark_of={SWAP.id: 100.0}.get)
    traded(portfolio, -3)
    charged(portfolio, 0.01)
    traded(portfolio, 2)
    assert portfolio.position(SWAP.id).margin_funding == 1
    charged(portfolio, 1 / 3)
    assert portfolio.position(SWAP.id).margin_funding == Fraction("34.33333333333333")
