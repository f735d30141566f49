"""The database of the forum's tests."""

from __future__ import annotations

from ..forum.conftest import db

__all__ = ["db"]
