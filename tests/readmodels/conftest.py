"""The example campaign of the reports' tests."""

from __future__ import annotations

from ..report.conftest import archive

__all__ = ["archive"]
