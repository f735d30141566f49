"""Linear algebra keeps to one core while a split is prepared, and only then."""

from __future__ import annotations

import threading

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from aar.problems.blas import one_thread


def threads() -> set[int]:
    return {int(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas"}


def test_blocks_may_overlap() -> None:
    assert np.ones(2) @ np.ones(2) == 2
    with threadpool_limits(limits=3, user_api="blas"):
        before = threads()
        entered, leave = threading.Event(), threading.Event()

        def other() -> None:
            with one_thread():
                entered.set()
                leave.wait(30)

        with one_thread():
            assert threads() == {1}
            beside = threading.Thread(target=other)
            beside.start()
            assert entered.wait(30)
        assert threads() == {1}, "the other block is still on"
        leave.set()
        beside.join()
        assert threads() == before != {1}
