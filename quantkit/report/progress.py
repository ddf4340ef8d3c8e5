"""The bar of a backtest that runs in a notebook."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

from quantkit.clock import iso_of, monotonic_s

RunProgress: TypeAlias = Callable[[int, int, int], None]
#: A run that is through by then shows no bar.
_PATIENCE_S: Final = 0.5
#: Between two drawings, at least.
_PAUSE_S: Final = 0.2


@contextmanager
def shown(progress: RunProgress | Literal[False] | None) -> Iterator[RunProgress | None]:
    """Give what a run reports to: the caller's own function, a bar in a notebook, or None; the bar goes at the end."""
    if progress is not None:
        yield progress or None
        return
    display = _display()
    if display is None:
        yield None
        return
    bar = NotebookBar(display)
    try:
        yield bar
    finally:
        bar.clear()


def _display() -> Callable[..., Any] | None:
    """Return what shows an object in the notebook that this process belongs to, None outside one."""
    # A process that has not imported IPython is no notebook, and does not pay for the import.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display


class NotebookBar:
    """A line below the cell that is drawn over itself, and removed at the end.

    Args:
        display: IPython's, which returns a handle to what it showed.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None
        self._next_s = monotonic_s() + _PATIENCE_S

    def __call__(self, now_ns: int, start_ns: int, end_ns: int) -> None:
        """Draw how far the run is, if it is time to."""
        if monotonic_s() < self._next_s:
            return
        share = (now_ns - start_ns) / max(end_ns - start_ns, 1)
        self._draw(_data(min(max(share, 0.0), 1.0), now_ns))
        self._next_s = monotonic_s() + _PAUSE_S

    def clear(self) -> None:
        """Take the bar away."""
        if self._handle is not None:
            self._draw({"text/plain": "", "text/html": ""})

    def _draw(self, data: dict[str, str]) -> None:
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def _data(share: float, now_ns: int) -> dict[str, str]:
    """Return the bar as a page shows it, and as text."""
    at = iso_of(now_ns)[:16].replace("T", " ")
    text = f"{100 * share:3.0f} %  {at}"
    page = (
        f'<div style="font-family:system-ui,sans-serif;font-size:13px;opacity:.8"><progress max="100" '
        f'value="{100 * share:.0f}" style="width:240px;vertical-align:middle"></progress> {text}</div>'
    )
    return {"text/plain": text, "text/html": page}
