"""The first decision in which two runs differ."""

from collections.abc import Sequence

import msgspec

from quantkit.clock import iso_of
from quantkit.proving.jobs import RunRecord
from quantkit.proving.trace import Decided


class FirstDifference(msgspec.Struct, frozen=True):
    """Where two runs part.

    Attributes:
        place: Moment, row, hook and line of the first decision that is not the same.
        here, there: What each of the runs decided; empty where it decided nothing.
    """

    place: str
    here: str
    there: str

    def __str__(self) -> str:
        return f"{self.place}: {self.here or 'nothing'}, and there {self.there or 'nothing'}"


def first_difference(here: RunRecord, there: RunRecord, until_ns: int | None = None) -> FirstDifference | None:
    """Return where two runs part, None where they do not.

    Args:
        here, there: The runs.
        until_ns: Decisions later than that are not compared; nor are the results then.
    """
    ours, theirs = _until(here.decisions, until_ns), _until(there.decisions, until_ns)
    for one, other in zip(ours, theirs, strict=False):
        if (one.at_ns, one.words) != (other.at_ns, other.words):
            # The later of two moments is not there yet in the other run.
            first = one if one.at_ns <= other.at_ns else other
            return FirstDifference(
                str(first),
                one.words if one.at_ns <= other.at_ns else "",
                other.words if other.at_ns <= one.at_ns else "",
            )
    if len(ours) != len(theirs):
        longer = ours if len(ours) > len(theirs) else theirs
        extra = longer[min(len(ours), len(theirs))]
        return FirstDifference(
            str(extra), extra.words if longer is ours else "", extra.words if longer is theirs else ""
        )
    if until_ns is None and here.hash != there.hash:
        return FirstDifference(
            f"{iso_of(here.end_ns)} at the end", f"result {here.hash[:8]}", f"result {there.hash[:8]}"
        )
    return None


def _until(decisions: Sequence[Decided], until_ns: int | None) -> list[Decided]:
    if until_ns is None:
        return list(decisions)
    return [each for each in decisions if each.at_ns <= until_ns]
