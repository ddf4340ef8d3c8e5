"""What a page shows of a run."""

from typing import TYPE_CHECKING, Any, Protocol

from quantkit.engine.outcome import Outcome
from quantkit.instruments import Instrument
from quantkit.quality.quoted import DataQuality
from quantkit.report.benchmark import Benchmark
from quantkit.report.execution import Execution
from quantkit.report.prices import Prices
from quantkit.report.round_trips import Trips
from quantkit.report.stats import Missing, Value

if TYPE_CHECKING:
    import pandas as pd


class Subject(Protocol):
    """The result of a run, as far as a page shows it.

    Attributes:
        outcome: The records of the run.
        config: Its configuration, JSON-ready.
        instruments: As at the start, by id.
        data_quality: What the last check said of the data.
    """

    outcome: Outcome
    config: dict[str, Any]
    instruments: dict[str, Instrument]
    data_quality: DataQuality

    @property
    def assumptions(self) -> list[str]:
        """What the run took for granted."""
        ...

    @property
    def missing(self) -> list[Missing]:
        """Statistics without a value, by reason."""
        ...

    @property
    def hash(self) -> str:
        """Equal for equal runs."""
        ...

    @property
    def manifest(self) -> dict[str, Any]:
        """The identity of the run, JSON-ready."""
        ...

    @property
    def trips(self) -> Trips:
        """Closed and open round trips."""
        ...

    @property
    def numbers(self) -> dict[str, Value]:
        """The statistics by key."""
        ...

    @property
    def daily_table(self) -> "pd.DataFrame":
        """Returns in per cent, a row a week, a column a weekday."""
        ...

    @property
    def monthly_returns(self) -> "pd.DataFrame":
        """Returns in per cent, a row a year, a column a month and one for the year."""
        ...

    @property
    def hourly_returns(self) -> "pd.DataFrame":
        """Mean, t-value and count of each hour of the week."""
        ...

    @property
    def drawdown_table(self) -> "pd.DataFrame":
        """Drawdowns, the deepest first."""
        ...

    @property
    def benchmark(self) -> Benchmark | None:
        """What the run is held against."""
        ...

    @property
    def intervals(self) -> dict[str, tuple[float, float]] | None:
        """90 % intervals of return and Sharpe ratio; None for a run too short for them."""
        ...

    @property
    def execution(self) -> Execution:
        """How well its orders did."""
        ...

    @property
    def prices(self) -> Prices:
        """The price path of each instrument."""
        ...

    @property
    def money_decimals(self) -> int:
        """The decimals in which changes of the equity can be seen."""
        ...
