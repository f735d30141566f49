"""Logins of people: a signed cookie that ends by itself, and the token that ties each page form to it.

Nothing is stored: the cookie says role, name and end, signed with a key that follows from the role's token, so that a
new token file ends every login made with the old one. Only logins that were ended early are kept, in a file.
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
"""How long a login lasts."""


@dataclass(frozen=True, slots=True)
class Login:
    """A person who logged in.

    Args:
        name: that they gave; what they do is on the record under it.
        nonce: tells one login from another.
        ends: Unix time.
    """

    role: Role
    name: str
    nonce: str
    ends: int

    @property
    def is_operator(self) -> bool:
        """Whether it may act."""
        return self.role == "operator"


class SessionStore:
    """The logins of one server.

    Args:
        tokens: secret of each role; a login by one is signed with it.
        clock: Unix time, for tests.
        home: where logins that were ended early are kept; None forgets them with this object.
    """

    def __init__(
        self, tokens: dict[Role, str], clock: Callable[[], float] = time.time, home: Path | None = None
    ) -> None:
        self._keys = {role: _mac(token.encode(), b"aar session") for role, token in tokens.items()}
        self._clock = clock
        self._ended = EndedSessions(home, clock)
        self._notes: dict[str, str] = {}

    def create_session(self, role: Role, name: str) -> str:
        """A new login, as the value of its cookie."""
        login = Login(role, name, secrets.token_urlsafe(16), int(self._clock()) + SESSION_SECONDS)
        said = json.dumps([login.role, login.name, login.nonce, login.ends]).encode()
        packed = base64.urlsafe_b64encode(said).decode().rstrip("=")
        return f"{packed}.{_mac(self._keys[role], packed.encode()).hex()}"

    def find_login(self, cookie: str) -> Login | None:
        """The login behind a cookie; None for one that is forged, over, or was ended."""
        packed, _, signature = cookie.partition(".")
        said, given = packed.encode("utf-8", "replace"), signature.encode("utf-8", "replace")
        # First of all: what nobody here signed is not even read.
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
        """End a login before its time; blocks for a file."""
        self._ended.add(login.nonce, login.ends)
        self._notes.pop(login.nonce, None)

    def csrf(self, login: Login) -> str:
        """What every form on this login's pages carries, and no other site can know."""
        return _mac(self._keys[login.role], b"form " + login.nonce.encode()).hex()

    def is_csrf(self, login: Login, given: str) -> bool:
        """Whether a form carries it, in constant time."""
        return hmac.compare_digest(self.csrf(login).encode(), given.encode("utf-8", "replace"))

    def note(self, login: Login, text: str) -> None:
        """Keep one line for the next page that this login sees."""
        if len(self._notes) > 1000:
            self._notes.clear()
        self._notes[login.nonce] = text

    def take_note(self, login: Login) -> str:
        """That line, once; empty without one."""
        return self._notes.pop(login.nonce, "")


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)
