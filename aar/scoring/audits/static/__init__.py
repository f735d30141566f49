"""The audit that reads a submission's code without running it."""

from __future__ import annotations

from aar.scoring.audits.static.reading import StaticReading, finding, read_code

__all__ = ["StaticReading", "finding", "read_code"]
