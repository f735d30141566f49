"""Comments on posts."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import CommentCreated
from aar.forum.authors import storage_key, validate_author
from aar.forum.figures.attachments import store_text_with_figures
from aar.forum.figures.figure_store import NewFigure
from aar.forum.queries import comment_view, find_post
from aar.forum.references.mentions import record_mentions
from aar.forum.text_limits import MAX_COMMENT
from aar.forum.views import Author, CommentView
from aar.store import event_log
from aar.store.models import Comment


def create_comment(
    session: Session,
    campaign_id: str,
    author: Author,
    post_id: int,
    body: str,
    *,
    idempotency_key: str | None = None,
    figures: Mapping[str, NewFigure] | None = None,
) -> CommentView:
    """Add a comment to a post, with figures like ``create_post``.

    The same key from the same author returns the first comment.

    Raises:
        NotFound: no such post, campaign, researcher or figure.
        UsageError: an empty or too long body, a limit on figures; nothing is stored.
    """
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    key = storage_key(author, idempotency_key)
    if key is not None:
        earlier = session.scalar(
            select(Comment).where(Comment.campaign_id == campaign_id, Comment.idempotency_key == key)
        )
        if earlier is not None:
            return comment_view(earlier)
    body = store_text_with_figures(session, campaign_id, author, "comment", body, MAX_COMMENT, figures)
    post = find_post(session, campaign_id, post_id)
    comment = Comment(
        campaign_id=campaign_id,
        post_id=post.id,
        researcher_id=author.researcher_id,
        author=author.name,
        body=body,
        idempotency_key=key,
    )
    session.add(comment)
    session.flush()
    happened = CommentCreated(post_id=post.id, comment_id=comment.id, author=author.name)
    event_log.append_event(session, campaign_id, happened, author.researcher_id)
    record_mentions(session, campaign_id, author, (comment.body,), post_id=post.id, comment_id=comment.id)
    return comment_view(comment)
