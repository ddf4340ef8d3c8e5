"""The quality of stored data: what a check finds, what it cannot verify, and what a run may quote of it."""

from quantkit.quality.check import check
from quantkit.quality.findings import CLEAN, FAULTY, UNVERIFIED, Finding, FindingPlace, QualityReport, StreamQuality

__all__ = ["CLEAN", "FAULTY", "UNVERIFIED", "Finding", "FindingPlace", "QualityReport", "StreamQuality", "check"]
