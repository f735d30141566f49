"""Pagination by cursor: pass ``next_cursor`` as ``after`` until it is null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")
MAX_LIMIT = 2**63 - 1
"""The largest key that the database can hold."""

After = Annotated[int, Query(ge=0, le=MAX_LIMIT, description="Cursor: the next_cursor of the previous page")]
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page")]
Number = Annotated[int, Path(ge=0, le=MAX_LIMIT)]


class Page(BaseModel, Generic[M]):
    """A page of items and the cursor of the next page."""

    items: list[M]
    next_cursor: int | None


def make_page(found: Sequence[V], limit: int, show: Callable[[V], M], cursor: Callable[[V], int]) -> Page[M]:
    """Makes a page from views; one more than ``limit`` means that another page follows."""
    shown = found[:limit]
    more = len(found) > limit
    return Page(items=[show(view) for view in shown], next_cursor=cursor(shown[-1]) if more else None)
