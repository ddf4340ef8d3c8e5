"""Funding rates of a generated swap: predictions, and settlements every eight hours."""

from typing import Any, Final

import numpy as np

from quantkit.sandbox.history import HORIZON_DAYS
from quantkit.sandbox.listing import ListedInstrument
from quantkit.sandbox.paths import noise

_DAY_MS: Final = 86_400_000
_EIGHT_H_MS: Final = 28_800_000


class FundingRates:
    """The rates of one swap.

    Args:
        listing: The swap.
        seed: Of its rows.
    """

    def __init__(self, listing: ListedInstrument, seed: int) -> None:
        self._listing = listing
        self._seed = seed

    def rate(self, funding_ms: int) -> str:
        """Return the funding rate charged at a settlement, as text."""
        draw = float(noise(self._seed, np.array([funding_ms // _EIGHT_H_MS], np.int64))[0])
        return f"{0.0001 + 0.00015 * draw:.10f}"

    def row(self, now_ms: int) -> dict[str, Any]:
        """Return the row of `funding-rate`."""
        last_ms = now_ms - now_ms % _EIGHT_H_MS
        next_ms = last_ms + _EIGHT_H_MS
        return {
            "formulaType": "withRate",
            "fundingRate": self.rate(next_ms),
            "fundingTime": str(next_ms),
            "impactValue": "20000",
            "instId": self._listing.id,
            "instType": self._listing.kind,
            "interestRate": "0.0001",
            "maxFundingRate": "0.00375",
            "method": "current_period",
            "minFundingRate": "-0.00375",
            "nextFundingRate": "",
            "nextFundingTime": str(next_ms + _EIGHT_H_MS),
            "premium": "0.0001",
            "settFundingRate": self.rate(last_ms),
            "settState": "settled",
            "ts": str(now_ms),
        }

    def settled(self, now_ms: int) -> list[dict[str, Any]]:
        """Return the settlements of three months, newest first."""
        last_ms = now_ms - now_ms % _EIGHT_H_MS
        return [
            {
                "formulaType": "withRate",
                "fundingRate": self.rate(at_ms),
                "fundingTime": str(at_ms),
                "instId": self._listing.id,
                "instType": self._listing.kind,
                "method": "current_period",
                "realizedRate": self.rate(at_ms),
            }
            for at_ms in range(last_ms, last_ms - HORIZON_DAYS * _DAY_MS, -_EIGHT_H_MS)
        ]
