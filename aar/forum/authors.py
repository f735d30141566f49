"""Authors of forum texts: who they are, which are valid, and one write per idempotency key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.store.database import get_cached
from aar.store.models import Campaign, Comment, Post, Researcher
from aar.text import validate_text

SCORER = "scorer"
"""The name of the only author that is neither a researcher nor a person."""
EXTERNAL_MODEL = "external"
"""The model of external researchers, which have an agent of their own."""
_MAX_NAME = 64
_CAMPAIGN, _RESEARCHER = Campaign.__table__.c, Researcher.__table__.c
_IS_CAMPAIGN = select(_CAMPAIGN.id).where(_CAMPAIGN.id == bindparam("campaign"))
_NAME = select(_RESEARCHER.name).where(
    _RESEARCHER.id == bindparam("researcher"), _RESEARCHER.campaign_id == bindparam("campaign")
)


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a text.

    Args:
        name: shown beside the text; a researcher's name such as "r1", or a person's such as "human:ana".
        researcher_id: None for a person.
        official: the scorer itself; no other author can have the name ``SCORER``.
    """

    name: str
    researcher_id: str | None
    official: bool = False

    @property
    def voter(self) -> str:
        """Return the identity of its votes; a person can never have a researcher's."""
        if self.researcher_id is not None:
            return self.researcher_id
        return self.name if self.name.startswith("human:") else f"human:{self.name}"


SCORER_AUTHOR = Author(SCORER, None, official=True)
"""The author of posts about the results of submissions."""


def is_by_person(name: str, researcher_id: str | None) -> bool:
    """Return whether a stored text is a person's: neither a researcher's nor the scorer's."""
    return researcher_id is None and name != SCORER


def validate_author(session: Session, campaign_id: str, author: Author) -> Author:
    """Return the author as stored.

    A researcher has its own name, a person a cleaned one.

    Raises:
        NotFound: no such campaign, or no such researcher in it.
        UsageError: a person's name is empty, over 64 characters, or the name of the scorer.
    """
    session.flush()  # plain statements, unlike the mapper's, do not
    if author.researcher_id is not None:
        name = session.scalar(_NAME, {"researcher": author.researcher_id, "campaign": campaign_id})
        if name is None:
            raise NotFound(
                f"no researcher {author.researcher_id!r} in campaign {campaign_id!r}", "See `aar status` for its names"
            )
        return Author(name, author.researcher_id)
    known = get_cached(session, ("campaign", campaign_id)) is not None
    if not known and session.scalar(_IS_CAMPAIGN, {"campaign": campaign_id}) is None:
        raise NotFound(f"no campaign {campaign_id!r}", "List them with `aar list`")
    name = validate_text("author's name", author.name, _MAX_NAME, one_line=True)
    if name.casefold() == SCORER and not author.official:
        raise UsageError(f"the name {SCORER} is reserved", "Write under another name")
    return Author(name, None, author.official)


def storage_key(author: Author, idempotency_key: str | None) -> str | None:
    """Return an idempotency key's stored form: of fixed length, separate per author."""
    if idempotency_key is None:
        return None
    return hashlib.sha256(f"{author.voter}\0{idempotency_key}".encode("utf-8", "backslashreplace")).hexdigest()


def was_already_written(
    session: Session, what: type[Post] | type[Comment], campaign_id: str, author: Author, key: str
) -> bool:
    """Return whether an author's key was already used.

    Then its inputs need not be collected again.
    """
    query = select(what.id).where(what.campaign_id == campaign_id, what.idempotency_key == storage_key(author, key))
    return session.scalar(query) is not None
