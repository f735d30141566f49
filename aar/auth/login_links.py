"""Addresses that log one person in, once: printed where a server is started, for whoever reads that terminal."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from aar.auth.sessions import Role

LOGIN_LINK_PATH = "/login/once"
LOGIN_LINK_SECONDS = 15 * 60
"""How long such an address holds."""
_MOST = 16


class LoginLinks:
    """What a server has given out and nobody has used yet; kept in its memory alone, as hashes.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[Role, str, float]] = {}

    def issue(self, role: Role, name: str) -> str:
        """A new address, from the first slash on; it ends with its first use, and by itself.

        Args:
            role: of the login that it begins.
            name: of the person, for the record.
        """
        code = secrets.token_urlsafe(32)
        self._waiting[_hash(code)] = (role, name, self._clock() + LOGIN_LINK_SECONDS)
        while len(self._waiting) > _MOST:
            self._waiting.pop(next(iter(self._waiting)))
        return f"{LOGIN_LINK_PATH}?code={code}"

    def export_pending(self) -> list[list[str | float]]:
        """What waits, for the process that serves; it is not good here any more."""
        given: list[list[str | float]] = [[key, *value] for key, value in self._waiting.items()]
        self._waiting.clear()
        return given

    def import_pending(self, given: list[list[str | float]]) -> None:
        """Take what another process of this machine has given out; clocks that count from its start are the same."""
        for key, role, name, ends in given:
            self._waiting[str(key)] = ("operator" if role == "operator" else "viewer", str(name), float(ends))

    def redeem(self, code: str) -> tuple[Role, str] | None:
        """Role and name of an address that is used now; None for one that was used, is over, or never was."""
        role, name, ends = self._waiting.pop(_hash(code), (None, "", 0.0))
        return None if role is None or ends <= self._clock() else (role, name)


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
