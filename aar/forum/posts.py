"""Creates and lists posts; also the one module to import the forum's services from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from sqlalchemy import Table, Text, insert, select
from sqlalchemy import cast as cast_to
from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.events import PostCreated
from aar.families import normalize_family, validate_families
from aar.forum.authors import storage_key, validate_author
from aar.forum.comments import create_comment
from aar.forum.figures.attachments import store_text_with_figures
from aar.forum.figures.figure_store import NewFigure
from aar.forum.queries import POSTS, comment_view, find_post, post_views, select_posts
from aar.forum.references.citations import add_thread_citations
from aar.forum.references.mentions import record_mentions
from aar.forum.text_limits import MAX_BODY, MAX_COMMENT, MAX_FAMILIES, MAX_TITLE
from aar.forum.views import Author, CommentView, PostView, ThreadView
from aar.forum.votes import cast_vote
from aar.store import event_log
from aar.store.models import Comment, Post, Submission
from aar.text.sanitize import validate_text

__all__ = [
    "MAX_BODY",
    "MAX_COMMENT",
    "MAX_TITLE",
    "POST_KINDS",
    "Author",
    "CommentView",
    "PostView",
    "ThreadView",
    "cast_vote",
    "create_comment",
    "create_post",
    "get_thread",
    "list_posts",
]

POST_KINDS = ("hypothesis", "result", "insight", "error", "question")
_MAX_PAGE = 500
_INSERT = insert(cast(Table, Post.__table__)).returning(POSTS.id)


def create_post(
    session: Session,
    campaign_id: str,
    author: Author,
    *,
    kind: str,
    title: str,
    body: str,
    submission_number: int | None = None,
    families: Iterable[str] = (),
    idempotency_key: str | None = None,
    figures: Mapping[str, NewFigure] | None = None,
) -> PostView:
    """Create a post. The same key from the same author returns the first post.

    Args:
        session: in a write transaction.
        campaign_id: whose forum.
        author: of the post.
        kind: one of ``POST_KINDS``.
        title: one line of at most ``MAX_TITLE`` characters.
        body: Markdown of at most ``MAX_BODY`` characters.
        submission_number: the submission of the post.
        families: of its ideas, the leading one first; at most ``MAX_FAMILIES`` of ``aar.families``.
        idempotency_key: identifies this write; any text.
        figures: by their paths in the body; the stored body has their digests.

    Raises:
        NotFound: no such campaign, researcher, submission or figure.
        UsageError: unknown kind or family, empty or too long text, a limit on figures; nothing is stored.
    """
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    key = storage_key(author, idempotency_key)
    if key is not None:
        earlier = session.scalar(select(Post.id).where(Post.campaign_id == campaign_id, Post.idempotency_key == key))
        if earlier is not None:
            return find_post(session, campaign_id, earlier)
    check_kind(kind)
    row: dict[str, Any] = {
        "campaign_id": campaign_id,
        "researcher_id": author.researcher_id,
        "author": author.name,
        "kind": kind,
        "title": validate_text("title", title, MAX_TITLE, one_line=True),
        "body": store_text_with_figures(session, campaign_id, author, "body", body, MAX_BODY, figures),
        "submission_id": _submission_id(session, campaign_id, submission_number),
        "families": validate_families(families, MAX_FAMILIES),
        "idempotency_key": key,
    }
    post_id = int(session.execute(_INSERT, row).scalar_one())
    happened = PostCreated(
        post_id=post_id, author=author.name, post_kind=kind, title=row["title"], families=row["families"]
    )
    event_log.append_event(session, campaign_id, happened, author.researcher_id)
    record_mentions(session, campaign_id, author, (row["title"], row["body"]), post_id=post_id)
    return find_post(session, campaign_id, post_id)


def list_posts(
    session: Session,
    campaign_id: str,
    *,
    after: int = 0,
    limit: int = 50,
    kind: str | None = None,
    family: str | None = None,
    researcher_id: str | None = None,
    newest_first: bool = False,
) -> list[PostView]:
    """Return one page of posts.

    Args:
        session: for reading.
        campaign_id: whose forum.
        after: the id of the previous page's last post; 0 for the first page in either order.
        limit: most posts to return, at most 500.
        kind: only posts of this kind.
        family: only posts labelled with this family.
        researcher_id: only posts by this researcher.
        newest_first: newest first instead of oldest first.

    Raises:
        UsageError: unknown kind or family, or a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"invalid page size: got {limit}, expected 1 to 500", "Request 1 to 500 posts")
    after = min(max(after, 0), 2**63 - 1)
    query = select_posts(campaign_id).order_by(POSTS.id.desc() if newest_first else POSTS.id)
    if after:
        query = query.where(POSTS.id < after if newest_first else POSTS.id > after)
    if kind is not None:
        check_kind(kind)
        query = query.where(POSTS.kind == kind)
    if family is not None:
        query = query.where(cast_to(POSTS.families, Text).like(family_pattern(family)))
    if researcher_id is not None:
        query = query.where(POSTS.researcher_id == researcher_id)
    return post_views(session, query.limit(min(limit, _MAX_PAGE)))


def get_thread(session: Session, campaign_id: str, post_id: int) -> ThreadView:
    """Return a post with all its comments. Raises NotFound."""
    post = find_post(session, campaign_id, post_id)
    comments = session.scalars(select(Comment).where(Comment.post_id == post.id).order_by(Comment.id))
    return add_thread_citations(session, ThreadView(post, [comment_view(comment) for comment in comments]))


def check_kind(kind: str) -> None:
    """Raise UsageError for an unknown kind of post."""
    if kind not in POST_KINDS:
        raise UsageError(f"unknown post kind {kind[:40]!r}", f"Choose one of {', '.join(POST_KINDS)}")


def family_pattern(name: str) -> str:
    """Return an SQL LIKE pattern for the stored labels of posts of a family.

    Raises UsageError if unknown.
    """
    return f'%"{normalize_family(name)}"%'


def _submission_id(session: Session, campaign_id: str, number: int | None) -> int | None:
    if number is None:
        return None
    found = session.scalar(
        select(Submission.id).where(Submission.campaign_id == campaign_id, Submission.number == number)
    )
    if found is None:
        raise NotFound(f"no submission s{number} in campaign {campaign_id!r}", "List them with `aar submissions`")
    return found
