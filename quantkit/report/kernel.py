"""Finer rows for the plots of a notebook: their frames ask this kernel for them, over Jupyter's own messages.

`page/assets/notebook.js` is the other end. Where a process is no kernel, nothing here is used.
"""

import json
import secrets
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import msgspec

from quantkit.clock import NS_PER_MS
from quantkit.errors import DataError
from quantkit.report.page.document import asset
from quantkit.report.page.markup import Markup, raw
from quantkit.report.page.payload import prices_answer
from quantkit.report.page.subject import Subject

#: The name under which a frame finds this in the kernel.
TARGET: Final = "quantkit.prices"
#: Plots whose frames are answered: each holds its result.
_PLOTS_MAX: Final = 12
_BUCKETS_MAX: Final = 20_000
_FAR_MS: Final = 2**53


class Question(msgspec.Struct, frozen=True, rename={"from_ms": "from", "to_ms": "to"}):
    """What a frame asks.

    Attributes:
        plot: Which.
        ask: The question's number; the answer bears it.
        place: Of the instrument among the plot's.
        from_ms, to_ms: The span, ms since 1970.
        buckets: Rows or stretches at most.
    """

    plot: str
    ask: int
    place: int
    from_ms: int
    to_ms: int
    buckets: int


class KernelRows:
    """What the frames of this kernel's plots may ask for: the prices of the latest plots, and nothing else.

    Args:
        kernel: The name under which Jupyter Server knows this kernel.
    """

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self._plots: dict[str, tuple[Subject, Sequence[str]]] = {}

    def offer(self, plot: str, subject: Subject, names: Sequence[str]) -> Markup:
        """Answer a plot's frame from now on, and return the script that stands beside it.

        Args:
            plot: Its name.
            subject: The result.
            names: The instruments in the order of its tabs.
        """
        self._plots[plot] = (subject, names)
        for oldest in list(self._plots)[:-_PLOTS_MAX]:
            del self._plots[oldest]
        known = json.dumps({"plot": plot, "kernel": self._kernel, "target": TARGET})
        return raw("script", f"{asset('notebook.js').rstrip()}({known});")

    def answer(self, asked: Any) -> dict[str, Any]:
        """Return the rows that were asked for, or `gone` where there are none to be had any more."""
        number = asked.get("ask") if isinstance(asked, dict) else None
        try:
            question = msgspec.convert(asked, Question)
            subject, names = self._plots[question.plot]
            name = names[max(0, question.place)]
            first_ms, last_ms = (min(max(at, -_FAR_MS), _FAR_MS) for at in (question.from_ms, question.to_ms))
            rows = subject.prices.rows(name, first_ms * NS_PER_MS, last_ms * NS_PER_MS + NS_PER_MS - 1)
            buckets = min(max(1, question.buckets), _BUCKETS_MAX)
            packed = prices_answer(rows, subject.instruments[name], buckets)
        except (msgspec.ValidationError, LookupError, DataError):
            return {"ask": number, "gone": True}
        return {"ask": number, "rows": {"count": len(rows), **packed}}

    def opened(self, comm: Any, message: Any) -> None:
        """Take a frame's channel."""
        del message
        comm.on_msg(partial(self._asked, comm))

    def _asked(self, comm: Any, message: Any) -> None:
        comm.send(self.answer(message["content"]["data"]))


def fresh_name() -> str:
    """Return a name that no other plot has, of this kernel or of one before it."""
    return secrets.token_hex(16)


def kernel_rows() -> KernelRows | None:
    """Return what answers the frames of this process, or None where it is no kernel of a notebook."""
    # A process that has not imported IPython is no notebook, and does not pay for the import.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    return None if kernel is None else _rows_of(kernel)


@cache
def _rows_of(kernel: Any) -> KernelRows | None:
    """Return what answers for one kernel; None where it speaks to no notebook, or in another way."""
    try:
        from ipykernel.connect import get_connection_file

        rows = KernelRows(Path(get_connection_file()).stem.removeprefix("kernel-"))
        kernel.comm_manager.register_target(TARGET, rows.opened)
    except (ImportError, AttributeError, RuntimeError, OSError):
        return None
    return rows
