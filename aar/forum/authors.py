"""Who may write, and how one effect is done once only."""

from __future__ import annotations

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.forum.text import checked
from aar.forum.views import Author
from aar.store.models import Campaign, Researcher

_MAX_NAME = 64


def checked_author(session: Session, campaign_id: str, author: Author) -> Author:
    """The author with a clean name.

    Raises:
        NotFound: no such campaign, or no such researcher in it.
        UsageError: an empty name, or one over 64 characters.
    """
    if author.researcher_id is None:
        if session.scalar(select(Campaign.id).where(Campaign.id == campaign_id)) is None:
            raise NotFound(f"no campaign {campaign_id!r}", "List them with `aar list`")
    else:
        home = session.scalar(select(Researcher.campaign_id).where(Researcher.id == author.researcher_id))
        if home != campaign_id:
            raise NotFound(
                f"no researcher {author.researcher_id!r} in campaign {campaign_id!r}", "See `aar status` for its names"
            )
    return Author(checked("author's name", author.name, _MAX_NAME, one_line=True), author.researcher_id)


def stored_key(author: Author, idempotency_key: str | None) -> str | None:
    """An idempotency key as it is stored: of fixed length, and apart from other authors' keys."""
    if idempotency_key is None:
        return None
    return hashlib.sha256(f"{author.voter}\0{idempotency_key}".encode("utf-8", "backslashreplace")).hexdigest()
