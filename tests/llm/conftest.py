"""The fixtures of researchers: calls are made as they make them."""

from __future__ import annotations

from ..researcher.conftest import anyio_backend, empty_database, house

__all__ = ["anyio_backend", "empty_database", "house"]
