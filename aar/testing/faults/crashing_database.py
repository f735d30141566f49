"""A database whose controller dies at a chosen write, for tests of takeovers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from aar.store.database import Database

T = TypeVar("T")


class ControllerKilled(BaseException):
    """The simulated death of a controller."""


class CrashingDatabase(Database):
    """A database that dies at its n-th write, before or right after the commit.

    It writes nothing from then on.
    """

    def __init__(self, url: str, dies_at: int | None, *, after_commit: bool, died: Callable[[], None]) -> None:
        super().__init__(url)
        self._left = dies_at
        self._after_commit = after_commit
        self._died = died
        self._dead = False

    async def write(self, fn: Callable[[Session], T]) -> T:
        """Write, or die at the chosen write."""
        if self._left is not None and not self._dead:
            self._left -= 1
        last = self._left == 0 and not self._dead
        if self._dead or (last and not self._after_commit):
            self._die()
        result = await super().write(fn)
        if last:
            self._die()
        return result

    def _die(self) -> None:
        self._dead = True
        self._died()
        raise ControllerKilled
