"""Whether an account is worth nothing, and how far marks may move before that has to be looked at closely."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from quantkit.engine.worth import AccountView, Amount
from quantkit.rows.cursors import NOWHERE
from quantkit.rows.marks import AnyMark

_WINDOW: Final = 4096


class Solvency:
    """Tells whether marks can end the run.

    The worst that the marks of a batch can do together is worked out first: where the account outlives that, no mark
    has to be looked at. Else bounds are drawn around the marks as they stand, and whatever leaves them is looked at.

    Args:
        sources: The mark of each instrument.

    Attributes:
        is_safe: Whether no mark of this batch can end the run.
        ruined: The part without equity at the marks of the last look: the whole account (""), or a currency that backs
            contracts; None while the account is solvent, or has not traded.
    """

    def __init__(self, sources: Mapping[str, AnyMark]) -> None:
        self.is_safe = True
        self.ruined: str | None = None
        self._sources = sources
        self._lows: dict[str, float] = {}  # of the marks of this batch
        self._highs: dict[str, float] = {}
        self._bounds: dict[str, tuple[float, float]] = {}
        self._safe_until = 0

    def enter_batch(self) -> None:
        """Begin a batch, of which nothing has been looked at."""
        self._lows, self._highs = {}, {}
        self._safe_until = 0

    def outlives_batch(self, view: AccountView, names: Iterable[str]) -> bool:
        """Find out whether no mark of this batch can end the run, and return that.

        Args:
            view: The account.
            names: Instruments that may have come to matter.
        """
        for name in names:
            if name not in self._lows:
                self._lows[name], self._highs[name] = self._sources[name].extremes()
        total, worths = view.worths(self._lows, self._highs)
        self.is_safe = False
        if total > 0:
            for balance, worth in zip(view.balances, worths, strict=True):
                # What owes in a currency is worth least where that is dearest: not what was counted.
                if worth <= 0 and (worth < 0 or balance.contracts):
                    return False
            self.is_safe = True
            self.ruined = None
        return self.is_safe

    def narrow(self, view: AccountView, marks: Mapping[str, float], index: int) -> None:
        """Look at the account as it stands at an index, and work the bounds out anew."""
        self.is_safe = False
        self._bounds = {}
        self._safe_until = index
        equity, worths = view.worths(marks, marks)
        self.ruined = _find_ruin(view, equity, worths) if view.positions else None
        if not marks:
            return
        gross = view.gross(marks)
        if any(balance.converter is not None for balance in view.balances):
            gross += abs(equity)
        # A quarter of the move that would eat the equity leaves room for all marks moving together.
        share = min(1.0, equity / gross) / 4 if gross > 0 else 1.0
        for balance, worth in zip(view.balances, worths, strict=True):
            notional = balance.notional(marks)
            share = min(share, worth / notional / 4) if notional > 0 else share
        self._bounds = {name: (mark * (1 - share), mark * (1 + share)) for name, mark in marks.items()}

    def next_doubt(self, horizon: int) -> int:
        """Return the first index before `horizon` at which a mark leaves its bounds, `NOWHERE` if none does."""
        begin, first = self._safe_until, NOWHERE
        if self.is_safe or not self._bounds or horizon <= begin:
            return NOWHERE
        for name, (low, high) in self._bounds.items():
            indices, values = self._sources[name].rows(horizon)
            row, stop = indices.searchsorted((begin, horizon)).tolist()
            while row < stop:
                window = values[row : min(row + _WINDOW, stop)]
                if window.min() <= low or window.max() >= high:
                    first = min(first, int(indices[row + int(np.argmax((window <= low) | (window >= high)))]))
                    break
                row += _WINDOW
        self._safe_until = min(first, horizon)
        return first


def _find_ruin(view: AccountView, equity: Amount, worths: Sequence[Amount]) -> str | None:
    """Return the part without equity, None if there is none."""
    if equity <= 0:
        return ""
    for balance, worth in zip(view.balances, worths, strict=True):
        # Money that was spent on coins is no ruin; a debt of contracts is, and so is one with nothing behind it.
        if balance.contracts and (worth < 0 or (worth <= 0 and any(held.size for held in balance.contracts))):
            return balance.currency
    return None
