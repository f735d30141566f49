"""Login sessions: signed cookies that expire, and the CSRF tokens of page forms.

Sessions are not stored: the cookie holds role, name and expiry, signed with a key derived from the role's token. A new
token file therefore ends every login made with the old one. Only logins that were ended early are stored, in a file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aar.auth.ended_sessions import EndedSessions

Role = Literal["operator", "viewer"]
SESSION_COOKIE = "aar_session"
SESSION_SECONDS = 8 * 3600
"""Lifetime of a login."""


@dataclass(frozen=True, slots=True)
class Login:
    """The login session of a person.

    Args:
        name: as the person entered it; their actions are recorded under it.
        nonce: identifies this login.
        ends: Unix time.
    """

    role: Role
    name: str
    nonce: str
    ends: int

    @property
    def is_operator(self) -> bool:
        """Returns True if the login may act."""
        return self.role == "operator"


class SessionStore:
    """The login sessions of one server.

    Args:
        tokens: secret of each role; a login by one is signed with it.
        clock: Unix time, for tests.
        home: folder that stores logins that were ended early; None keeps them in memory only.
    """

    def __init__(
        self, tokens: dict[Role, str], clock: Callable[[], float] = time.time, home: Path | None = None
    ) -> None:
        self._keys = {role: _mac(token.encode(), b"aar session") for role, token in tokens.items()}
        self._clock = clock
        self._ended = EndedSessions(home, clock)
        self._notes: dict[str, str] = {}

    def create_session(self, role: Role, name: str) -> str:
        """Creates a login and returns the value of its cookie."""
        login = Login(role, name, secrets.token_urlsafe(16), int(self._clock()) + SESSION_SECONDS)
        said = json.dumps([login.role, login.name, login.nonce, login.ends]).encode()
        packed = base64.urlsafe_b64encode(said).decode().rstrip("=")
        return f"{packed}.{_mac(self._keys[role], packed.encode()).hex()}"

    def find_login(self, cookie: str) -> Login | None:
        """Returns the login of a cookie.

        None for one that is forged, expired, or ended.
        """
        packed, _, signature = cookie.partition(".")
        said, given = packed.encode("utf-8", "replace"), signature.encode("utf-8", "replace")
        # Check the signature first: unsigned content is not even parsed.
        signed = [
            role for role, key in self._keys.items() if hmac.compare_digest(_mac(key, said).hex().encode(), given)
        ]
        if not signed:
            return None
        try:
            role, name, nonce, ends = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        except (ValueError, TypeError, binascii.Error):
            return None
        if role not in signed:
            return None
        if ends <= self._clock() or nonce in self._ended:
            return None
        return Login(role, name, nonce, ends)

    def end_session(self, login: Login) -> None:
        """Ends a login before its expiry; blocks for a file."""
        self._ended.add(login.nonce, login.ends)
        self._notes.pop(login.nonce, None)

    def csrf(self, login: Login) -> str:
        """Returns the CSRF token of a login's forms, which no other site knows."""
        return _mac(self._keys[login.role], b"form " + login.nonce.encode()).hex()

    def is_csrf(self, login: Login, given: str) -> bool:
        """Compares a form's CSRF token in constant time."""
        return hmac.compare_digest(self.csrf(login).encode(), given.encode("utf-8", "replace"))

    def note(self, login: Login, text: str) -> None:
        """Stores one line for the next page that this login sees."""
        if len(self._notes) > 1000:
            self._notes.clear()
        self._notes[login.nonce] = text

    def take_note(self, login: Login) -> str:
        """Removes and returns that line; empty without one."""
        return self._notes.pop(login.nonce, "")


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)
