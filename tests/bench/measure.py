"""What the benches measure with: CPU time, Python calls, and one line of the report."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType


def cpu(call: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    gc.collect()
    begin = time.process_time()
    call()
    return time.process_time() - begin


def python_calls(call: Callable[[], object]) -> int:
    """Return how many Python functions one call enters; the number carries no noise."""
    count = 0

    def note(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


def show(what: str, value: str, target: str = "") -> None:
    """Print one line of the report."""
    print(f"{what:<66} {value:>16}  {target}", flush=True)


def spread(values: Iterable[float]) -> tuple[float, float]:
    """Return the median and the best."""
    kept = sorted(values)
    return statistics.median(kept), kept[0]
