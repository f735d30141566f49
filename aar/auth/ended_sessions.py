"""Stores logins that were ended early, so that no server restart revives them.

Every server over the same folder reads the file. It lists a login until that login would have expired.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

ENDED_SESSIONS_FILE = "ended-logins"
_log = logging.getLogger(__name__)


class EndedSessions:
    """The list of ended logins under one folder.

    Args:
        home: the folder of the operator's token; None keeps them in memory only.
        clock: Unix time.
    """

    def __init__(self, home: Path | None, clock: Callable[[], float]) -> None:
        self._path = None if home is None else home / ENDED_SESSIONS_FILE
        self._clock = clock
        self._own: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._seen: tuple[int, int, int] | None = None
        self._lock = threading.Lock()

    def add(self, nonce: str, ends: int) -> None:
        """Ends a login on every server over this folder; blocks for the file.

        In memory it takes effect at once.
        """
        key, now = _hash(nonce), self._clock()
        with self._lock:
            self._own = {each: end for each, end in self._own.items() if end > now} | {key: ends}
        if self._path is not None:
            try:
                self._write(self._path, now)
            except OSError as error:
                _log.error("an ended login cannot be stored in %s, so a restart forgets it: %s", self._path, error)

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

    def _write(self, path: Path, now: float) -> None:
        """Replaces the file with the logins that ended here and elsewhere.

        Of two writers the later one includes the earlier one's entries.
        """
        with self._lock, path.with_suffix(".lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            known = _parsed(path.read_text(encoding="utf-8")) if path.exists() else {}
            kept = {key: ends for key, ends in (known | self._own).items() if ends > now}
            descriptor, draft = tempfile.mkstemp(prefix=f".{ENDED_SESSIONS_FILE}-", dir=path.parent)  # mode 0600
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(kept, file)
            Path(draft).replace(path)


def _parsed(text: str) -> dict[str, int]:
    """Parses the file's content; returns nothing if it is damaged."""
    try:
        return {str(key): int(ends) for key, ends in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        _log.error("the file of ended logins is damaged; ended logins may stay valid until they expire")
        return {}


def _hash(nonce: str) -> str:
    return hashlib.sha256(nonce.encode("utf-8", "replace")).hexdigest()
