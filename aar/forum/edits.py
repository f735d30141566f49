"""Edits, retracts and pins posts and comments.

Every earlier version and retracted text stays readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import Forbidden, NotFound, UsageError
from aar.events import PostPinned, TextEdited, TextRetracted
from aar.families import validate_families
from aar.forum.authors import SCORER, Author, is_by_person, validate_author
from aar.forum.figures import NewFigure, store_text_with_figures
from aar.forum.posts import comment_view, find_post
from aar.forum.references import record_mentions
from aar.forum.views import (
    MAX_BODY,
    MAX_COMMENT,
    MAX_FAMILIES,
    MAX_REASON,
    MAX_TITLE,
    CommentView,
    PostView,
    RevisionView,
)
from aar.store import event_log
from aar.store.column_types import now
from aar.store.models import Comment, Post, Revision
from aar.text import validate_text


def edit_post(
    session: Session,
    campaign_id: str,
    author: Author,
    post_id: int,
    *,
    title: str | None = None,
    body: str | None = None,
    families: Iterable[str] | None = None,
    figures: Mapping[str, NewFigure] | None = None,
) -> PostView:
    """Replace a post's title or body, or both; the earlier version is stored.

    The same text again changes nothing.

    Args:
        session: in a write transaction.
        campaign_id: the campaign of the forum.
        author: the post's own author, or a person.
        post_id: the post.
        title: the new title; None leaves it unchanged.
        body: the new body; None leaves it unchanged.
        families: its new labels; None leaves them unchanged. The event log has the earlier ones.
        figures: by their paths in the body.

    Raises:
        NotFound: no such post, campaign, researcher or figure.
        Forbidden: another author's post, or the scorer's.
        UsageError: an empty or too long text, an unknown family, a limit on figures, or a retracted post; nothing is
            stored.
    """
    author, post, _ = _editable(session, campaign_id, author, post_id, None)
    new_title = post.title if title is None else validate_text("title", title, MAX_TITLE, one_line=True)
    new_body = post.body
    if body is not None:
        new_body = store_text_with_figures(session, campaign_id, author, "body", body, MAX_BODY, figures)
    labels = post.families if families is None else validate_families(families, MAX_FAMILIES)
    before, after = (post.title, post.body), (new_title, new_body)
    if (before, post.families) != (after, labels):
        if before != after:
            _store_revision(session, post, None, author)
            post.title, post.body, post.edited_at = new_title, new_body, now()
        changed = None if labels == post.families else labels
        post.families = labels
        _record_edit(session, campaign_id, author, post_id, None, before, after, changed)
    return find_post(session, campaign_id, post_id)


def edit_comment(
    session: Session,
    campaign_id: str,
    author: Author,
    post_id: int,
    comment_id: int,
    body: str,
    figures: Mapping[str, NewFigure] | None = None,
) -> CommentView:
    """Replace a comment's body, like ``edit_post``."""
    author, post, comment = _editable(session, campaign_id, author, post_id, comment_id)
    assert comment is not None
    new = store_text_with_figures(session, campaign_id, author, "comment", body, MAX_COMMENT, figures)
    if new != comment.body:
        before = comment.body
        _store_revision(session, post, comment, author)
        comment.body, comment.edited_at = new, now()
        _record_edit(session, campaign_id, author, post_id, comment_id, (before,), (new,))
    return comment_view(comment)


def retract(
    session: Session, campaign_id: str, author: Author, post_id: int, reason: str, *, comment_id: int | None = None
) -> None:
    """Retract a post or a comment on it.

    It stays readable, marked with the reason, and search omits it.

    A second retraction changes nothing.

    Raises:
        NotFound: no such post or comment, campaign or researcher.
        Forbidden: another author's text, or the scorer's.
        UsageError: an empty or too long reason.
    """
    why = validate_text("reason", reason, MAX_REASON, one_line=True)
    try:
        author, post, comment = _editable(session, campaign_id, author, post_id, comment_id)
    except _Retracted:
        return
    row = comment or post
    row.retracted_at, row.retraction = now(), why
    event = TextRetracted(post_id=post_id, comment_id=comment_id, author=author.name, reason=why)
    event_log.append_event(session, campaign_id, event, author.researcher_id)


def pin(session: Session, campaign_id: str, author: Author, post_id: int, *, pinned: bool = True) -> PostView:
    """Pin a post above all others, or unpin it. Only for people.

    Raises:
        NotFound: no such post, campaign or researcher.
        Forbidden: the author is a researcher.
    """
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    if not is_by_person(author.name, author.researcher_id):
        raise Forbidden("only people can pin posts", "Vote for the post instead")
    view = find_post(session, campaign_id, post_id)
    if view.pinned == pinned:
        return view
    session.get_one(Post, post_id).pinned_at = now() if pinned else None
    event_log.append_event(session, campaign_id, PostPinned(post_id=post_id, author=author.name, pinned=pinned))
    return find_post(session, campaign_id, post_id)


def list_revisions(session: Session, campaign_id: str, post_id: int) -> list[RevisionView]:
    """Return the earlier versions of a post and its comments, oldest first.

    Raises NotFound.
    """
    post = find_post(session, campaign_id, post_id)
    rows = session.scalars(select(Revision).where(Revision.post_id == post.id).order_by(Revision.id))
    return [RevisionView(row.post_id, row.comment_id, row.title, row.body, row.by, row.at) for row in rows]


class _Retracted(UsageError):
    pass


def _editable(
    session: Session, campaign_id: str, author: Author, post_id: int, comment_id: int | None
) -> tuple[Author, Post, Comment | None]:
    """Return the rows of a text that the author may change."""
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    post = session.get_one(Post, find_post(session, campaign_id, post_id).id)
    session.refresh(post)
    comment = None if comment_id is None else _comment(session, post, comment_id)
    row, what = (post, f"post #{post_id}") if comment is None else (comment, f"comment {comment_id}")
    own = author.researcher_id is not None and row.researcher_id == author.researcher_id
    if row.researcher_id is None and row.author == SCORER:
        raise Forbidden(f"{what} is by the scorer and cannot be changed", "Comment on it")
    if not own and not is_by_person(author.name, author.researcher_id):
        raise Forbidden(f"{what} is not your own", "Comment on it")
    if row.retracted_at is not None:
        raise _Retracted(f"{what} was retracted: {row.retraction}", "Write a new one")
    return author, post, comment


def _comment(session: Session, post: Post, comment_id: int) -> Comment:
    comment = session.get(Comment, comment_id) if 0 < comment_id < 2**63 else None
    if comment is None or comment.post_id != post.id:
        raise NotFound(f"no comment {comment_id} on post #{post.id}", f"See `aar forum show {post.id}`")
    session.refresh(comment)
    return comment


def _store_revision(session: Session, post: Post, comment: Comment | None, author: Author) -> None:
    session.add(
        Revision(
            campaign_id=post.campaign_id,
            post_id=post.id,
            comment_id=None if comment is None else comment.id,
            title=post.title if comment is None else "",
            body=post.body if comment is None else comment.body,
            by=author.name,
        )
    )


def _record_edit(
    session: Session,
    campaign_id: str,
    author: Author,
    post_id: int,
    comment_id: int | None,
    before: tuple[str, ...],
    after: tuple[str, ...],
    families: list[str] | None = None,
) -> None:
    event = TextEdited(post_id=post_id, comment_id=comment_id, author=author.name, families=families)
    event_log.append_event(session, campaign_id, event, author.researcher_id)
    record_mentions(session, campaign_id, author, after, post_id=post_id, comment_id=comment_id, before=before)
