"""Removes secrets from text that is shown, printed or exported.

Keys never enter a sandbox, so a transcript should contain none. If one gets there (a person pastes it into a post, an
agent prints a token that it was given), it does not leave the database. Own output is redacted by ``aar.redaction``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.settings import Settings, get_settings
from aar.store.models import Campaign

REMOVED_MARK = "[secret removed]"
_SHORTEST = 12
_LIKE_SECRETS = re.compile(
    r"""sk-ant-[A-Za-z0-9_-]{8,}            # Anthropic
      | \baar_[A-Za-z0-9_-]{43}             # a researcher's or the operator's token
      | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b       # AWS
      | \bAIza[0-9A-Za-z_-]{35}             # Google
      | \bgh[pousr]_[A-Za-z0-9]{36,}        # GitHub
      | \bhf_[A-Za-z0-9]{30,}               # Hugging Face
      | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
      | (?<=[Bb]earer[ ])[A-Za-z0-9._~+/-]{20,}=*
    """,
    re.VERBOSE | re.DOTALL,
)
_LIKE_A_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{20,}")
"""Keys of other providers; each contains a digit, unlike words joined by hyphens."""
_DIGIT = re.compile("[0-9]")
_SECRET_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")


class Scrubber:
    """A filter that replaces secrets by a mark.

    It matches everything that looks like a secret, and the given values.

    Args:
        secrets: exact values; those under twelve characters are passed over, for they would cut up ordinary text.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        exact = sorted({each for each in secrets if len(each) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, exact))) if exact else None

    def text(self, text: str) -> str:
        """Returns the text without secrets."""
        if self._known is not None:
            text = self._known.sub(REMOVED_MARK, text)
        text = _LIKE_SECRETS.sub(REMOVED_MARK, text)
        return _LIKE_A_KEY.sub(lambda found: REMOVED_MARK if _DIGIT.search(found[0]) else found[0], text)

    def value(self, value: Any) -> Any:
        """Returns JSON without secrets, in keys and values at any depth."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(str(key)): self.value(each) for key, each in value.items()}
            case list() | tuple():
                return [self.value(each) for each in value]
            case _:
                return value


def make_scrubber(session: Session, campaign_id: str, settings: Settings | None = None) -> Scrubber:
    """Makes a scrubber with the secrets of this machine and the campaign.

    They are the environment's variables named ``..._KEY``, ``..._TOKEN`` and the like, the API key, the operator's
    token, the database's password and the secret from which the campaign's seeds are derived.
    """
    settings = settings or get_settings()
    secrets = [value for name, value in os.environ.items() if _SECRET_NAME.search(name.upper())]
    if settings.claude_key is not None:
        secrets.append(settings.claude_key.get_secret_value())
    secrets.append(urlsplit(settings.database_url).password or "")
    token = settings.home / "operator-token"
    if token.is_file() and os.access(token, os.R_OK):
        secrets.append(token.read_text(encoding="utf-8", errors="replace").strip())
    secrets.append(session.scalar(select(Campaign.secret).where(Campaign.id == campaign_id)) or "")
    return Scrubber(secrets)
