"""Login sessions, their CSRF tokens, and one-time login links.

Neither sessions nor links are stored: they hold the name and the time, signed with a key derived from the role's token.
A new token file therefore ends every login made with the old one. Only logins that were ended early and links that were
used are stored, in a file that every server over the same folder reads, so that no restart revives them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from itsdangerous import BadSignature, TimestampSigner
from itsdangerous.encoding import base64_decode, base64_encode

from aar.auth.tokens import operator_token, viewer_token

Role = Literal["operator", "viewer"]
SESSION_COOKIE = "aar_session"
SESSION_SECONDS = 8 * 3600
"""Lifetime of a login."""
LOGIN_LINK_PATH = "/login/once"
LOGIN_LINK_SECONDS = 15 * 60
"""Lifetime of a link."""
_ENDED_FILE = "ended-logins"
_log = logging.getLogger(__name__)


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
        tokens: secret of each role; its logins, login links and forms are signed with it.
        clock: Unix time, for tests.
        home: folder that stores logins that were ended early and used links; None keeps them in memory only.
    """

    def __init__(
        self, tokens: dict[Role, str], clock: Callable[[], float] = time.time, home: Path | None = None
    ) -> None:
        self._signers = {role: _Signer(token, clock) for role, token in tokens.items()}
        self._clock = clock
        self._ended = EndedSessions(home, clock)
        self._notes: dict[str, str] = {}

    def create_session(self, role: Role, name: str) -> str:
        """Creates a login and returns the value of its cookie."""
        return self._sign("login", role, name)

    def find_login(self, cookie: str) -> Login | None:
        """Returns the login of a cookie.

        None for one that is forged, expired, or ended.
        """
        login = self._verify("login", cookie, SESSION_SECONDS)
        return None if login is None or login.nonce in self._ended else login

    def end_session(self, login: Login) -> None:
        """Ends a login before its expiry; blocks for a file."""
        self._ended.add(login.nonce, login.ends)
        self._notes.pop(login.nonce, None)

    def create_link(self, role: Role, name: str) -> str:
        """Returns a path that logs in once, on any server over the same folder, and expires by itself.

        Args:
            role: of the login that it begins.
            name: of the person, for the record.
        """
        return f"{LOGIN_LINK_PATH}?code={self._sign('link', role, name)}"

    def redeem_link(self, code: str) -> tuple[Role, str] | None:
        """Uses a link up and returns its role and name; blocks for a file.

        None for a link that was used, has expired, or was never issued.
        """
        link = self._verify("link", code, LOGIN_LINK_SECONDS)
        return None if link is None or not self._ended.add(link.nonce, link.ends) else (link.role, link.name)

    def csrf(self, login: Login) -> str:
        """Returns the CSRF token of a login's forms, which no other site knows."""
        return self._signers[login.role].get_signature(_form_of(login)).decode()

    def is_csrf(self, login: Login, given: str) -> bool:
        """Compares a form's CSRF token in constant time."""
        return self._signers[login.role].verify_signature(_form_of(login), given.encode("utf-8", "replace"))

    def note(self, login: Login, text: str) -> None:
        """Stores one line for the next page that this login sees."""
        if len(self._notes) > 1000:
            self._notes.clear()
        self._notes[login.nonce] = text

    def take_note(self, login: Login) -> str:
        """Removes and returns that line; empty without one."""
        return self._notes.pop(login.nonce, "")

    def _sign(self, purpose: str, role: Role, name: str) -> str:
        payload = base64_encode(json.dumps([name, secrets.token_urlsafe(16)])).decode()
        return self._signers[role].sign(f"{role}-{purpose}.{payload}").decode()

    def _verify(self, purpose: str, signed: str, seconds: int) -> Login | None:
        """Returns what was signed for a purpose; None if it is forged or expired."""
        for role, signer in self._signers.items():
            with suppress(BadSignature):  # unsigned content is not even parsed
                value, signed_at = signer.unsign(signed.encode("utf-8", "replace"), return_timestamp=True)
                signed_for, _, payload = value.decode().partition(".")
                ends = int(signed_at.timestamp()) + seconds
                if signed_for == f"{role}-{purpose}" and ends > self._clock():
                    name, nonce = json.loads(base64_decode(payload))
                    return Login(role, name, nonce, ends)
        return None


def open_sessions(home: Path) -> SessionStore:
    """Opens the login sessions of the tokens of ``home``, which are made if absent. Raises SetupError."""
    return SessionStore({"operator": operator_token(home), "viewer": viewer_token(home)}, home=home)


class _Signer(TimestampSigner):
    def __init__(self, token: str, clock: Callable[[], float]) -> None:
        super().__init__(token, salt=b"aar session", key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        """Returns the seconds of the store's clock."""
        return int(self._clock())


def _form_of(login: Login) -> bytes:
    """Returns the signed text of a login's forms; no login or link begins so."""
    return b"form " + login.nonce.encode()


class EndedSessions:
    """The list of ended logins and used login links under one folder.

    Args:
        home: the folder of the operator's token; None keeps them in memory only.
        clock: Unix time.
    """

    def __init__(self, home: Path | None, clock: Callable[[], float]) -> None:
        self._path = None if home is None else home / _ENDED_FILE
        self._clock = clock
        self._own: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._seen: tuple[int, int, int] | None = None
        self._lock = threading.Lock()

    def add(self, nonce: str, ends: int) -> bool:
        """Ends a login or a link on every server over this folder; blocks for the file.

        In memory it takes effect at once. Returns False if it had ended already.
        """
        key, now = _hash(nonce), self._clock()
        with self._lock:
            if key in self._own:
                return False
            self._own = {each: end for each, end in self._own.items() if end > now} | {key: ends}
        try:
            return self._path is None or key not in self._write(self._path, now)
        except OSError as error:
            _log.error("an ended login cannot be stored in %s, so a restart forgets it: %s", self._path, error)
            return True

    def __contains__(self, nonce: object) -> bool:
        self._refresh()
        key = _hash(str(nonce))
        return key in self._own or key in self._read

    def _refresh(self) -> None:
        """Loads changes by other processes: checks the file and reads it if it changed."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen != self._seen:
                self._read = _parsed(self._path.read_text(encoding="utf-8"))
                self._seen = seen
        except FileNotFoundError:
            return
        except OSError as error:
            _log.error("ended logins cannot be read from %s: %s", self._path, error)

    def _write(self, path: Path, now: float) -> dict[str, int]:
        """Replaces the file with the logins that ended here and elsewhere; returns what it held before.

        Of two writers the later one includes the earlier one's entries.
        """
        with self._lock, path.with_suffix(".lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            known = _parsed(path.read_text(encoding="utf-8")) if path.exists() else {}
            remaining = {key: ends for key, ends in (known | self._own).items() if ends > now}
            descriptor, draft = tempfile.mkstemp(prefix=f".{_ENDED_FILE}-", dir=path.parent)  # mode 0600
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(remaining, file)
            Path(draft).replace(path)
            return known


def _parsed(text: str) -> dict[str, int]:
    """Parses the file's content; returns nothing if it is damaged."""
    try:
        return {str(key): int(ends) for key, ends in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        _log.error("the file of ended logins is damaged; ended logins may stay valid until they expire")
        return {}


def _hash(nonce: str) -> str:
    return hashlib.sha256(nonce.encode("utf-8", "replace")).hexdigest()
