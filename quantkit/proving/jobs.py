"""What a child process is asked to run, and what it says of it: plain records that travel between processes."""

from typing import Any, Final

import msgspec

from quantkit.proving.altered import Future
from quantkit.proving.columns import Knowledge
from quantkit.proving.trace import Decided
from quantkit.proving.volume import VolumeShare
from quantkit.proving.witness import Reach
from quantkit.proving.world import World

#: What the record of a run is called that could not be done in its time.
TIMED_OUT: Final = "timed out"


def middle_ns(start_ns: int, end_ns: int) -> int:
    """Return where the second half of a span begins."""
    return (start_ns + end_ns) // 2


class RunSpec(msgspec.Struct, frozen=True):
    """One run of a child.

    Attributes:
        name: What is other in it, in words.
        options: Keywords of `backtest` that replace those of the job.
        future: What is other after a moment.
        late: A further column that comes a row late.
        is_half: Whether only the second half of the span of the child's first run is run.
        is_measured: Whether shares of the volume and further columns are looked at.
        is_timed: Whether it is counted how long the strategy takes to each message.
    """

    name: str
    options: dict[str, Any] = {}
    future: Future | None = None
    late: str | None = None
    is_half: bool = False
    is_measured: bool = False
    is_timed: bool = False


class Job(msgspec.Struct, frozen=True):
    """What one child does: runs of one strategy, one after the other, in one world.

    Attributes:
        strategy: Text that `load_strategy` takes.
        params: Of the strategy.
        data: Folder, or URI, or frames by instrument id.
        options: Other keywords of `backtest`.
        path: Where modules are imported from.
        world: The surroundings.
        runs: In this order.
    """

    strategy: str
    params: dict[str, Any]
    data: Any
    options: dict[str, Any]
    path: list[str]
    world: World
    runs: list[RunSpec]


class RunRecord(msgspec.Struct, frozen=True):
    """What a run came to.

    Attributes:
        name: Of its `RunSpec`.
        decisions: In order.
        error: What ended it before its time; empty for a whole run.
        is_ours, is_wrong_call: Whether the strategy itself raised it; whether the user can mend it.
        hash: Of the result, empty without one.
        start_ns, end_ns: The span. matching, marks, streams: What it ran on; of two runs with others nothing follows.
        latency_ms: By instrument. fees: By instrument, as fields.
        pnl: Final less starting equity. currency: Of it.
        fills, trades: Their numbers.
        sharpe, probabilistic_sharpe, t_value: None where the run is too short.
        return_low_pct, return_high_pct: Of 90 in 100 resampled runs.
        kept: Kind and name of what the run changed in its process.
        volume: Shares of the volume.
        columns: Further columns.
        kinds: Kinds of data that orders could be matched on over the whole span.
        times_ns: How long the strategy took to each message.
    """

    name: str
    decisions: list[Decided] = []
    error: str = ""
    is_ours: bool = False
    is_wrong_call: bool = False
    hash: str = ""
    start_ns: int = 0
    end_ns: int = 0
    matching: dict[str, str] = {}
    marks: dict[str, str] = {}
    streams: list[str] = []
    latency_ms: dict[str, float] = {}
    fees: dict[str, dict[str, Any]] = {}
    pnl: float = 0.0
    currency: str = ""
    fills: int = 0
    trades: int = 0
    sharpe: float | None = None
    probabilistic_sharpe: float | None = None
    t_value: float | None = None
    return_low_pct: float | None = None
    return_high_pct: float | None = None
    kept: list[tuple[str, str]] = []
    volume: VolumeShare | None = None
    columns: list[Knowledge] = []
    kinds: list[str] = []
    times_ns: list[int] = []


class ChildReport(msgspec.Struct, frozen=True):
    """What a child says.

    Attributes:
        runs: As asked for.
        reached: What the strategy opened by itself.
        clock_readings, variables, threads: What it used of the machine, each with its place.
        failed: Why there are no runs; empty if there are. is_wrong_call: Whether the user can mend it.
    """

    runs: list[RunRecord] = []
    reached: list[Reach] = []
    clock_readings: dict[str, str] = {}
    variables: dict[str, str] = {}
    threads: dict[str, str] = {}
    failed: str = ""
    is_wrong_call: bool = False
