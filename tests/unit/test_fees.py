"""Rates of fees, their presets, and those that make no sense; their amounts are in `brokers/test_fee_amounts.py`."""

import math
from decimal import Decimal
from typing import Any

import pytest

from quantkit.errors import ConfigError
from quantkit.fees import Fees
from quantkit.instruments import Instrument

SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)


def test_fee_presets_are_okxs() -> None:
    """8 and 10 bps in what is received for spot, 2 and 5 in the settlement currency for contracts."""
    assert Fees.preset_for(SPOT) == Fees.okx_spot() == Fees(maker_bps=8, taker_bps=10, currency="received")
    assert Fees.preset_for(INVERSE) == Fees.okx_swap() == Fees(maker_bps=2, taker_bps=5, currency="settle")
    assert Fees.okx_spot().rate(is_maker=True) == Decimal("0.0008")
    assert Fees.okx_spot().rate(is_maker=False) == Decimal("0.001")
    assert Fees(maker_bps=-0.5).rate(is_maker=True) == Decimal("-0.00005")
    assert Fees().rate(is_maker=False) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"maker_bps": math.nan}, "maker_bps is nan; a fee rate is a finite number of basis points"),
        ({"taker_bps": math.inf}, "taker_bps is inf"),
        ({"taker_bps": 1000.1}, "taker_bps is 1000.1; .* within \\+-1000"),
        ({"maker_bps": -1001}, "maker_bps is -1001"),
        ({"currency": "OKB"}, "fee currency rule 'OKB' is not known; use quote, received or settle"),
    ],
)
def test_fees_that_make_no_sense_are_refused(fields: dict[str, Any], words: str) -> None:
    """Ten per cent is the most."""
    with pytest.raises(ConfigError, match=words):
        Fees(**fields)
