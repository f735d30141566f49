"""Votes: one per voter and post; a new vote replaces the earlier one."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.events import VoteCast
from aar.forum.authors import validate_author
from aar.forum.queries import find_post
from aar.forum.views import Author, PostView
from aar.store import event_log
from aar.store.models import Post, Vote


def cast_vote(session: Session, campaign_id: str, author: Author, post_id: int, value: int) -> PostView:
    """Vote for (+1) or against (-1) a post, and update its score.

    Both are in the same transaction.

    The score is the sum of its votes.

    Voting the same way again changes nothing and appends no event.

    Raises:
        NotFound: no such post, campaign or researcher.
        UsageError: another value, or a vote on one's own post.
    """
    if value not in (1, -1):
        raise UsageError(f"invalid vote: got {value!r}, expected +1 or -1", "Vote 1 for the post or -1 against it")
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    post = find_post(session, campaign_id, post_id)
    if Author(post.author, post.researcher_id).voter == author.voter:
        raise UsageError(f"post #{post_id} is your own", "Vote on the posts of others")
    vote = session.scalar(select(Vote).where(Vote.post_id == post_id, Vote.voter == author.voter))
    if vote is not None and vote.value == value:
        return post
    if vote is None:
        session.add(Vote(post_id=post_id, voter=author.voter, value=value))
    else:
        vote.value = value
    session.flush()
    total = select(func.coalesce(func.sum(Vote.value), 0)).where(Vote.post_id == post_id).scalar_subquery()
    session.execute(
        update(Post).where(Post.id == post_id).values(score=total), execution_options={"synchronize_session": False}
    )
    event_log.append_event(session, campaign_id, VoteCast(post_id=post_id, value=value), author.researcher_id)
    return find_post(session, campaign_id, post_id)


def vote_of(session: Session, post_id: int, author: Author) -> int:
    """Return an author's vote on a post: +1, -1, or 0 for none."""
    return session.scalar(select(Vote.value).where(Vote.post_id == post_id, Vote.voter == author.voter)) or 0
