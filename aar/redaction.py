"""Taking this process's own secrets out of what it prints, logs and raises.

Whoever reads a secret names it here once: the model key, a database's password. What quotes text that may hold one (a
driver's error, a traceback) shows it redacted. Secrets of other kinds, by their form, are ``report.scrub``'s.
"""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType
from urllib.parse import quote, quote_plus

REDACTED_MARK = "***"
_SHORTEST = 8
"""A shorter one is a word that text may hold for other reasons: it is hidden only where it stands as a password."""
_secrets: set[str] = set()


def register_secret(secret: str) -> None:
    """Have a secret replaced from now on, as it is and as URLs hold it."""
    if secret.strip():
        _secrets.update({secret, quote(secret, safe=""), quote_plus(secret)})


def redact(text: str) -> str:
    """Return the text without the secrets named so far."""
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, REDACTED_MARK)
        elif secret in text:
            word = re.escape(secret)
            text = re.sub(rf"(://[^:/@\s]*:){word}(?=@)|(\bpassword=){word}\b", rf"\1\2{REDACTED_MARK}", text)
    return text


def install_excepthook() -> None:
    """Have tracebacks of this process printed redacted."""

    def show(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, place))))

    sys.excepthook = show
