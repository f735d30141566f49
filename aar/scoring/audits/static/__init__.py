"""The audit that reads a submission's code without running it."""

from __future__ import annotations

from aar.scoring.audits.static.static_audit import Reading, StaticReading, finding, modules_in, read_code

__all__ = ["Reading", "StaticReading", "finding", "modules_in", "read_code"]
