"""Speaking to researchers by name: ``@r2``, or ``@all`` from people; each mention is an event that news tell first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import ResearchersMentioned
from aar.forum.references.reference_parser import EVERYBODY, find_references
from aar.forum.views import Author, is_by_person
from aar.store import event_log
from aar.store.models import Researcher


def mentioned_names(texts: Sequence[str]) -> list[str]:
    """Names that the texts speak to, in order and each once; nothing in code counts."""
    return find_references("researcher", texts)


def record_mentions(
    session: Session,
    campaign_id: str,
    author: Author,
    texts: Sequence[str],
    *,
    post_id: int,
    comment_id: int | None = None,
    before: Sequence[str] = (),
) -> list[str]:
    """Append the event of what a new or edited text mentions, if anything; returns the researchers' names.

    Args:
        session: in a write transaction.
        campaign_id: whose forum.
        author: who wrote; nobody mentions themselves.
        texts: title and body as they stand now.
        post_id: where it stands.
        comment_id: and in which comment.
        before: the texts before an edit: who was mentioned there has been told.
    """
    named = set(mentioned_names(texts)) - set(mentioned_names(before))
    if not is_by_person(author.name, author.researcher_id):
        named.discard(EVERYBODY)
    if not named:
        return []
    query = select(Researcher.name, Researcher.id).where(Researcher.campaign_id == campaign_id)
    if EVERYBODY not in named:
        query = query.where(Researcher.name.in_(named))
    rows = session.execute(query.order_by(Researcher.index, Researcher.name))
    names = [row.name for row in rows if row.id != author.researcher_id]
    if names:
        happened = ResearchersMentioned(post_id=post_id, comment_id=comment_id, author=author.name, names=names)
        event_log.append_event(session, campaign_id, happened, author.researcher_id)
    return names
