"""What a check says: a row for each question with its verdict and its evidence, and the runs with other assumptions."""

from typing import Final, Literal, TypeAlias

import msgspec

CheckVerdict: TypeAlias = Literal["PASS", "WARN", "FAIL", "CANNOT TELL"]
PASS: Final = "PASS"
WARN: Final = "WARN"
FAIL: Final = "FAIL"
UNTOLD: Final = "CANNOT TELL"

LOOK_AHEAD: Final = "look-ahead"
COLUMNS: Final = "further columns"
REACH: Final = "own reading"
DETERMINISM: Final = "determinism"
STATE: Final = "state between runs"
LATENCY: Final = "latency"
FEES: Final = "fees"
MATCHING: Final = "matching"
VOLUME: Final = "share of volume"
TRADES: Final = "number of trades"
#: The questions, in the order in which they are shown.
QUESTIONS: Final = (
    LOOK_AHEAD,
    COLUMNS,
    REACH,
    DETERMINISM,
    STATE,
    LATENCY,
    FEES,
    MATCHING,
    VOLUME,
    TRADES,
)


class CheckRow(msgspec.Struct, frozen=True):
    """One answer of a check.

    Attributes:
        check: The question.
        verdict: `PASS`, `WARN`, `FAIL` or `CANNOT TELL`.
        evidence: One line; of a fault the first decision that differs, with its moment, row and line of code.
        kind: What was found, such as `wall clock` or `module global`; empty where nothing was.
    """

    check: str
    verdict: CheckVerdict
    evidence: str
    kind: str = ""


class Variant(msgspec.Struct, frozen=True):
    """A run with one assumption changed.

    Attributes:
        assumption: `as it is`, `latency`, `fees` or `matching`.
        name: How it was changed.
        pnl: Final less starting equity; None where the run could not be done.
        fills: Executions.
        sharpe: Daily returns, 365 a year; None below one day.
        error: Why there is no run; empty if there is.
    """

    assumption: str
    name: str
    pnl: float | None
    fills: int = 0
    sharpe: float | None = None
    error: str = ""


class StrategyCheck(msgspec.Struct, frozen=True):
    """The verdict on a strategy over given data.

    Attributes:
        strategy, parameters: What was checked.
        start, end: The span, UTC.
        rows: The answers, in order.
        variants: The runs with other assumptions, the run as it is first.
        currency: Of the amounts.
        runs: How many runs it took.
        compute: How long the strategy took to a message, in words, where that was to be saved; else empty.
    """

    strategy: str
    parameters: dict[str, str]
    start: str
    end: str
    rows: list[CheckRow]
    variants: list[Variant]
    currency: str
    runs: int
    compute: str = ""

    @property
    def verdict(self) -> CheckVerdict:
        """`FAIL` with a row that failed, else `WARN` with one that warns, else `PASS`."""
        found = {row.verdict for row in self.rows}
        return FAIL if FAIL in found else WARN if WARN in found else PASS

    @property
    def kinds(self) -> list[str]:
        """What was found, each once, in order."""
        return list(dict.fromkeys(row.kind for row in self.rows if row.kind))

    @property
    def faults(self) -> list[CheckRow]:
        """The rows that failed."""
        return [row for row in self.rows if row.verdict == FAIL]

    def __str__(self) -> str:
        width = max(len(row.check) for row in self.rows) if self.rows else 0
        lines = [f"{row.check:{width}}  {row.verdict:11}  {row.evidence}" for row in self.rows]
        return "\n".join([f"{self.strategy}: {self.verdict}", *lines])
