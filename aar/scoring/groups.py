"""Errors of tasks that run side by side, as the one error that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aar.errors import AarError


@contextmanager
def one_error() -> Iterator[None]:
    """Around a task group: let its first ``AarError`` out, or its only error, instead of a group of them.

    Tasks that run side by side usually break over the same thing.
    """
    try:
        yield
    except ExceptionGroup as group:
        raise _first(group) from group


def _first(group: ExceptionGroup[Exception]) -> Exception:
    ours = group.subgroup(AarError)
    first: Exception = ours or group
    while isinstance(first, ExceptionGroup) and (ours is not None or len(first.exceptions) == 1):
        first = first.exceptions[0]
    return first
