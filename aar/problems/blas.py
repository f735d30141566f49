"""Linear algebra on one core, for work that is done beside other work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_inside = 0
_limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to one thread while the block lasts, in the whole process.

    On vectors of a few thousand numbers more threads gain nothing, wait for each other in a busy loop that takes the
    cores from the researchers, and add in an order that depends on the machine. Blocks may overlap.
    """
    global _inside, _limit
    with _lock:
        _inside += 1
        if _inside == 1:
            _limit = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limit.restore_original_limits()


@cache
def _controller() -> ThreadpoolController:
    # Finding the libraries takes milliseconds; it is done once, after the caller has imported them.
    return ThreadpoolController()
