"""A result as a picture in a notebook: the card "Price and equity" of its page."""

from datetime import date
from html import escape
from typing import Final

from quantkit.clock import iso_of, time_ns_of
from quantkit.errors import ConfigError
from quantkit.report.kernel import fresh_name, kernel_rows
from quantkit.report.page.page import card
from quantkit.report.page.subject import Subject

#: Of the card with everything around it.
_HEIGHT: Final = 900


class Plot:
    """Price, position, equity and drawdown of a run, linked; a notebook shows it.

    Args:
        subject: The result.
        start, end: The span that is drawn, both ends included; default the run's.

    Raises:
        ConfigError: Nothing of the run lies in it.
    """

    def __init__(
        self, subject: Subject, start: str | int | date | None = None, end: str | int | date | None = None
    ) -> None:
        self._subject = subject
        first_ns, last_ns = subject.outcome.start_ns, subject.outcome.end_ns
        start_ns = first_ns if start is None else max(time_ns_of(start), first_ns)
        end_ns = last_ns if end is None else min(time_ns_of(end), last_ns)
        if start_ns > end_ns:
            raise ConfigError(
                f"nothing of the run lies in the span to plot; it runs from {iso_of(first_ns)} to {iso_of(last_ns)}"
            )
        self._span_ns = (start_ns, end_ns)

    def __repr__(self) -> str:
        return "<Plot: a notebook shows it; result.report(path) writes it to a file>"

    def _repr_html_(self) -> str:
        rows, name = kernel_rows(), fresh_name()
        made = card(self._subject, self._span_ns, plot=name if rows else "")
        script = rows.offer(name, self._subject, made.instruments) if rows and made.is_cut else ""
        # In a frame of its own the page can neither touch the notebook nor be touched by its styles.
        return (
            f'<iframe srcdoc="{escape(made.page, quote=True)}" sandbox="allow-scripts" title="Price and equity" '
            f'width="100%" height="{_HEIGHT}" style="border:0" loading="lazy"></iframe>{script}'
        )
