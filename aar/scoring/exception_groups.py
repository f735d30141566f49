"""Unwraps exception groups of parallel tasks into one error for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aar.errors import AarError


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise a task group's first ``AarError``, or its only error, instead of the group.

    Tasks that run side by side usually fail for the same reason.
    """
    try:
        yield
    except ExceptionGroup as group:
        error = _first_error(group)
        raise error from error.__cause__  # its cause shows if it is temporary, such as a full disk


def _first_error(group: ExceptionGroup[Exception]) -> Exception:
    ours = group.subgroup(AarError)
    first: Exception = ours or group
    while isinstance(first, ExceptionGroup) and (ours is not None or len(first.exceptions) == 1):
        first = first.exceptions[0]
    return first
