"""Mentions of researchers: ``@r2``, or ``@all`` from people.

Each is an event, first in the reader's news.
"""

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
    """Return the names mentioned in the texts, in order, each once, code excluded."""
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
    """Append the event of a text's new mentions, if any; return the researchers' names.

    Args:
        session: in a write transaction.
        campaign_id: the campaign of the forum.
        author: of the texts; mentions of itself do not count.
        texts: current title and body.
        post_id: the post of the texts.
        comment_id: the comment of the texts, if any.
        before: the texts before an edit: their mentions were notified already.
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
