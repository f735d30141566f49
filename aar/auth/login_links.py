"""One-time login links: printed in the terminal that starts a server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from aar.auth.sessions import Role

LOGIN_LINK_PATH = "/login/once"
LOGIN_LINK_SECONDS = 15 * 60
"""Lifetime of a link."""
_MOST = 16


class LoginLinks:
    """The unused login links of a server; stored in memory only, as hashes.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[Role, str, float]] = {}

    def issue(self, role: Role, name: str) -> str:
        """Returns a new path that logs in once and expires by itself.

        The path starts with its first slash.

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
        """Removes and returns the pending links, for the process that serves."""
        given: list[list[str | float]] = [[key, *value] for key, value in self._waiting.items()]
        self._waiting.clear()
        return given

    def import_pending(self, given: list[list[str | float]]) -> None:
        """Adds links issued by another process of this machine.

        The monotonic clocks of both processes are the same.
        """
        for key, role, name, ends in given:
            self._waiting[str(key)] = ("operator" if role == "operator" else "viewer", str(name), float(ends))

    def redeem(self, code: str) -> tuple[Role, str] | None:
        """Uses a link up and returns its role and name.

        None for a link that was used, has expired, or was never issued.
        """
        role, name, ends = self._waiting.pop(_hash(code), (None, "", 0.0))
        return None if role is None or ends <= self._clock() else (role, name)


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
