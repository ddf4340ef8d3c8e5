"""Whether an account is worth nothing, and how far marks may move before that has to be looked at closely."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from quantkit.engine.worth import AccountView
from quantkit.portfolio import Portfolio
from quantkit.rows.cursors import NOWHERE
from quantkit.rows.marks import AnyMark

_WINDOW: Final = 4096


def find_ruin(view: AccountView, ledger: Portfolio, marks: Mapping[str, float]) -> str | None:
    """Return the part without equity: the whole account (""), or a currency that backs contracts.

    None while the account is solvent, and before its first trade.
    """
    along = {name: np.array([mark]) for name, mark in marks.items()}
    if float(view.equity(along)[0]) <= 0:
        return ""
    for balance in view.balances:
        # Money that was spent on coins is no ruin; a debt of contracts is, and so is one with nothing behind it.
        worth = float(balance.worth(along)[0]) if ledger.backs_contracts(balance.currency) else 0.0
        if worth < 0 or (balance.contracts and worth <= 0):
            return balance.currency
    return None


class SolvencyBounds:
    """Bounds for every mark; within all of them the account is certainly solvent.

    Args:
        marks: Where each instrument's mark comes from.
    """

    def __init__(self, marks: Mapping[str, AnyMark]) -> None:
        self._marks = marks
        self._bounds: dict[str, tuple[float, float]] = {}
        self._safe_until = 0

    def enter_batch(self) -> None:
        """Begin a batch, of which nothing has been looked at."""
        self._safe_until = 0

    def narrow(self, view: AccountView, marks: Mapping[str, float], index: int) -> None:
        """Work the bounds out anew, for the account as it stands at an index and its marks there."""
        self._bounds = {}
        self._safe_until = index
        if not marks:
            return
        along = {name: np.array([mark]) for name, mark in marks.items()}
        equity = float(view.equity(along)[0])
        gross = float(view.exposure(marks, np.ones(1))[0])
        if any(balance.converter is not None for balance in view.balances):
            gross += abs(equity)
        # A quarter of the move that would eat the equity leaves room for all marks moving together.
        share = min(1.0, equity / gross) / 4 if gross > 0 else 1.0
        for balance in view.balances:
            if balance.contracts:
                worth, notional = float(balance.worth(along)[0]), balance.notional(marks)
                share = min(share, worth / notional / 4) if notional > 0 else share
        self._bounds = {name: (mark * (1 - share), mark * (1 + share)) for name, mark in marks.items()}

    def next_doubt(self, horizon: int) -> int:
        """Return the first index before `horizon` at which a mark leaves its bounds, `NOWHERE` if none does."""
        begin, first = self._safe_until, NOWHERE
        if not self._bounds or horizon <= begin:
            return NOWHERE
        for name, (low, high) in self._bounds.items():
            indices, values = self._marks[name].rows(horizon)
            row, stop = indices.searchsorted((begin, horizon)).tolist()
            while row < stop:
                window = values[row : min(row + _WINDOW, stop)]
                if window.min() <= low or window.max() >= high:
                    first = min(first, int(indices[row + int(np.argmax((window <= low) | (window >= high)))]))
                    break
                row += _WINDOW
        self._safe_until = min(first, horizon)
        return first
