"""Audit log: one JSON line per login and per request that would change something.

Accepted and refused requests go to two files, so that a flood of refusals cannot push accepted ones out. Tokens,
cookies and bodies are never logged. Accepted requests are also events of their campaign, with their author.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aar.text.sanitize import clean_line

FILE = "audit.log"
REFUSED_FILE = "audit-refused.log"
_MOST_BYTES = 20_000_000
_LONGEST = 300
_log = logging.getLogger(__name__)


class AuditLog:
    """A log of JSON lines under ``home``, readable by its owner only.

    Each file has at most 20 MB of older lines beside it.

    Args:
        home: the folder of the operator's token.
    """

    def __init__(self, home: Path) -> None:
        self._accepted = home / FILE
        self._refused = home / REFUSED_FILE

    def write(self, *, status: int, method: str, path: str, who: str, address: str, left_out: int = 0) -> None:
        """Writes one line; blocks for the file.

        If the file cannot be written, the server's own log says so.

        Args:
            status: of the response; 400 and above is a refusal.
            path: without its query.
            who: such as ``operator ana``, ``researcher k3v9qd-r1`` or empty for an unknown client.
            left_out: number of refusals before this one without a line of their own.
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
        if left_out:
            line["left_out"] = left_out
        data = (json.dumps(line) + "\n").encode()
        file = self._refused if status >= 400 else self._accepted
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, data)
                full = os.fstat(descriptor).st_size > _MOST_BYTES
            finally:
                os.close(descriptor)
            if full:
                file.replace(file.with_suffix(".log.1"))
        except OSError as error:
            _log.error("the audit log cannot be written: %s", error)
