"""A result as a picture in a notebook: the card "Price and equity" of its page."""

from html import escape
from typing import Final

from quantkit.report.page.page import render
from quantkit.report.page.subject import Subject

#: Of the card with everything around it.
_HEIGHT: Final = 900


class Plot:
    """Price, position, equity and drawdown of a run, linked; a notebook shows it.

    Args:
        subject: The result.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __repr__(self) -> str:
        return "<Plot: a notebook shows it; result.report(path) writes it to a file>"

    def _repr_html_(self) -> str:
        page = escape(render(self._subject, mode="card").decode(), quote=True)
        # In a frame of its own the page can neither touch the notebook nor be touched by its styles.
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="Price and equity" width="100%" '
            f'height="{_HEIGHT}" style="border:0" loading="lazy"></iframe>'
        )
