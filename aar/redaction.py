"""Redaction of this process's own secrets in its output, logs and errors.

Code that reads a secret registers it here once: the model key, a database's password. Texts that may contain one (a
driver's error, a traceback) are redacted before they are shown. Secrets of other kinds, by their form, are
``readmodels.secret_scrubber``'s.
"""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED_MARK = "***"
_SHORTEST = 8
"""A shorter secret may be an ordinary word: it is redacted only in the place of a password."""
_secrets: set[str] = set()


def register_secret(secret: str) -> None:
    """Register a secret for redaction, both as it is and URL-encoded."""
    if secret.strip():
        _secrets.update({secret, quote(secret, safe=""), quote_plus(secret)})


def redact(text: str) -> str:
    """Return the text without the registered secrets."""
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, REDACTED_MARK)
        elif secret in text:
            word = re.escape(secret)
            text = re.sub(rf"(://[^:/@\s]*:){word}(?=@)|(\bpassword=){word}\b", rf"\1\2{REDACTED_MARK}", text)
    return text


def without_database_address(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a stored spec without the database's address.

    Earlier versions left the password in it.
    """
    return {name: value for name, value in spec.items() if name != "database"}


def install_excepthook() -> None:
    """Install an exception hook that redacts this process's tracebacks."""

    def show(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, place))))

    sys.excepthook = show
