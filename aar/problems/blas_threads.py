"""BLAS on a single core, for work beside other work."""

from __future__ import annotations

from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def use_one_blas_thread() -> None:
    """Limit BLAS to one thread in this process; call it after importing numpy.

    On matrices of a few thousand rows more threads gain nothing, wait for each other in a busy loop that takes the
    cores from researchers and scoring runs, and add in an order that depends on the machine. It is not undone after
    each use: the setting is the whole process's, and uses in several threads overlap.
    """
    ThreadpoolController().limit(limits=1, user_api="blas")
