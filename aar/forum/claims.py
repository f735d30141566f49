"""Claims: a researcher announces its topic and until when, so that others choose another.

They lock nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import Conflict, Forbidden, NotFound, UsageError
from aar.events import ClaimMade, ClaimReleased
from aar.forum.authors import Author, is_by_person, validate_author
from aar.forum.views import MAX_TITLE, ClaimView
from aar.store import event_log
from aar.store.column_types import now
from aar.store.models import Claim
from aar.text import validate_text

MAX_HOURS = 24.0
"""Longest duration of a claim, in hours."""
MAX_CLAIMS = 3
"""Most active claims of one researcher."""


def claim_topic(session: Session, campaign_id: str, author: Author, topic: str, hours: float) -> ClaimView:
    """Announce a researcher's topic. The same text again changes its end.

    Args:
        session: in a write transaction.
        campaign_id: the campaign of the forum.
        author: a researcher.
        topic: the direction or idea, in one line.
        hours: duration of the claim from now; over 0, at most ``MAX_HOURS``.

    Raises:
        NotFound: no such campaign or researcher.
        Forbidden: the author is a person.
        UsageError: an empty or too long topic, or hours outside the limits.
        Conflict: the author has ``MAX_CLAIMS`` active claims already.
    """
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    if author.researcher_id is None:
        raise Forbidden("only researchers can claim a topic", "Write a post to the team")
    topic = validate_text("topic", topic, MAX_TITLE, one_line=True)
    if not 0 < hours <= MAX_HOURS:
        raise UsageError(
            f"invalid hours of a claim: got {hours:g}, expected over 0 and at most {MAX_HOURS:g}", "Give other hours"
        )
    start = now()
    query = select(Claim).where(Claim.campaign_id == campaign_id, Claim.expires_at > start)
    held = session.scalars(query.where(Claim.researcher_id == author.researcher_id)).all()
    claim = next((each for each in held if each.topic.casefold() == topic.casefold()), None)
    if claim is None:
        if len(held) >= MAX_CLAIMS:
            raise Conflict(
                f"{author.name} has {len(held)} active claims already", "Release one, or wait until one expires"
            )
        claim = Claim(campaign_id=campaign_id, researcher_id=author.researcher_id, author=author.name, topic=topic)
        session.add(claim)
    claim.expires_at = start + timedelta(hours=hours)
    session.flush()
    event = ClaimMade(claim_id=claim.id, author=author.name, topic=claim.topic, expires_at=claim.expires_at)
    event_log.append_event(session, campaign_id, event, author.researcher_id)
    return _view(claim)


def release_topic(session: Session, campaign_id: str, author: Author, claim_id: int) -> ClaimView:
    """End a claim: one's own, or any as a person.

    An ended claim stays as it is.

    Raises:
        NotFound: no such claim, campaign or researcher.
        Forbidden: the claim is another researcher's.
    """
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    claim = session.get(Claim, claim_id) if 0 < claim_id < 2**63 else None
    if claim is None or claim.campaign_id != campaign_id:
        raise NotFound(f"no claim {claim_id} in campaign {campaign_id!r}", "List them with `aar forum claims`")
    session.refresh(claim)
    if claim.researcher_id != author.researcher_id and not is_by_person(author.name, author.researcher_id):
        raise Forbidden(f"claim {claim_id} belongs to {claim.author}", "Only its author or a person can release it")
    end = now()
    if claim.expires_at > end:
        claim.expires_at = end
        event = ClaimReleased(claim_id=claim.id, author=author.name, topic=claim.topic)
        event_log.append_event(session, campaign_id, event, author.researcher_id)
    return _view(claim)


def active_claims(session: Session, campaign_id: str, at: datetime | None = None) -> list[ClaimView]:
    """Return the claims that are active now (or at a time), by their end."""
    query = select(Claim).where(Claim.campaign_id == campaign_id, Claim.expires_at > (at or now()))
    return [_view(row) for row in session.scalars(query.order_by(Claim.expires_at, Claim.id))]


def claims_by_id(session: Session, campaign_id: str, ids: list[int]) -> list[ClaimView]:
    """Return claims of a campaign by id, including ended ones."""
    query = select(Claim).where(Claim.campaign_id == campaign_id, Claim.id.in_(ids))
    return [_view(row) for row in session.scalars(query.order_by(Claim.id))]


def _view(row: Claim) -> ClaimView:
    return ClaimView(row.id, row.author, row.topic, row.created_at, row.expires_at)
