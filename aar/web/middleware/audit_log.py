"""The audit log: one JSON line for every login and every request that would change something, let through or not.

What was let through and what was refused are two files, so that no flood of refusals pushes the former out. No token,
cookie or body is ever in them. What is let through is an event of its campaign as well, with who asked.
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
    """Appends lines to files under ``home`` which only their owner reads; of each the last 20 MB before it are kept.

    Args:
        home: the folder of the operator's token.
    """

    def __init__(self, home: Path) -> None:
        self._accepted = home / FILE
        self._refused = home / REFUSED_FILE

    def write(self, *, status: int, method: str, path: str, who: str, address: str, left_out: int = 0) -> None:
        """One line; where it cannot be written the server's own log says so. It blocks for the file.

        Args:
            status: of the answer; 400 and above is a refusal.
            path: without its query.
            who: such as ``operator ana``, ``researcher k3v9qd-r1`` or empty for nobody known.
            left_out: refusals before this one that have no line of their own.
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
