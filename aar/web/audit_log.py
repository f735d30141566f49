"""The audit log: one JSON line for every login and every request that would change something, let through or not.

No token, cookie or body is ever in it. What is let through is an event of its campaign as well, with who asked.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aar.forum.text import clean_line

FILE = "audit.log"
_MOST_BYTES = 20_000_000
_LONGEST = 300
_log = logging.getLogger(__name__)


class AuditLog:
    """Appends lines to ``audit.log`` under ``home``, which only its owner reads; the last 20 MB before it are kept.

    Args:
        home: the folder of the operator's token.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def write(self, *, status: int, method: str, path: str, who: str, address: str) -> None:
        """One line; where it cannot be written the server's own log says so, and the request goes on.

        Args:
            status: of the answer; 400 and above is a refusal.
            path: without its query.
            who: such as ``operator ana``, ``researcher k3v9qd-r1`` or empty for nobody known.
        """
        line: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "outcome": "refused" if status >= 400 else "accepted",
            "status": status,
            "method": clean_line(method)[:16],
            "path": clean_line(path)[:_LONGEST],
            "who": clean_line(who)[:_LONGEST],
            "address": clean_line(address)[:_LONGEST],
        }
        data = (json.dumps(line) + "\n").encode()
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                os.write(descriptor, data)
                full = os.fstat(descriptor).st_size > _MOST_BYTES
            finally:
                os.close(descriptor)
            if full:
                self._path.replace(self._path.with_suffix(".log.1"))
        except OSError as error:
            _log.error("the audit log cannot be written: %s", error)
