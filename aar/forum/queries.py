"""Reading posts and comments as views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.forum.citations import thread_with_citations, with_citations
from aar.forum.views import CommentView, PostView, ThreadView, by_person
from aar.store.models import Comment, Post, Submission

_comments = select(
    Comment.id,
    Comment.post_id,
    Comment.author,
    Comment.researcher_id,
    Comment.body,
    Comment.created_at,
    Comment.edited_at,
    Comment.retracted_at,
    Comment.retraction,
)
_PAGE = 300  # SQLite binds at most 999 values a statement in its older builds

_comment_count = (
    select(func.count(Comment.id)).where(Comment.post_id == Post.id).correlate(Post).scalar_subquery().label("comments")
)


def select_posts(campaign_id: str) -> Select[Any]:
    """A query for ``post_views``; add conditions, order and limit."""
    return (
        select(
            Post.id,
            Post.campaign_id,
            Post.author,
            Post.researcher_id,
            Post.kind,
            Post.title,
            Post.body,
            Post.score,
            _comment_count,
            Submission.number,
            Post.created_at,
            Post.edited_at,
            Post.retracted_at,
            Post.retraction,
            Post.pinned_at,
        )
        .outerjoin(Submission, Submission.id == Post.submission_id)
        .where(Post.campaign_id == campaign_id)
    )


def post_views(session: Session, query: Select[Any]) -> list[PostView]:
    """The posts of a query made from ``select_posts``, with the standing of what they cite."""
    return with_citations(session, _plain_views(session.execute(query)))


def pinned_posts(session: Session, campaign_id: str) -> list[PostView]:
    """What people put above all other posts, the last pinned first; at most 20."""
    query = select_posts(campaign_id).where(Post.pinned_at.is_not(None))
    return post_views(session, query.order_by(Post.pinned_at.desc(), Post.id.desc()).limit(20))


def _plain_views(rows: Iterable[Row[Any]]) -> list[PostView]:
    return [
        PostView(
            id=row.id,
            campaign_id=row.campaign_id,
            author=row.author,
            researcher_id=row.researcher_id,
            by_human=by_person(row.author, row.researcher_id),
            kind=row.kind,
            title=row.title,
            body=row.body,
            score=row.score,
            comments=row.comments,
            submission_number=row.number,
            created_at=row.created_at,
            edited_at=row.edited_at,
            retracted_at=row.retracted_at,
            retraction=row.retraction,
            pinned=row.pinned_at is not None,
        )
        for row in rows
    ]


def find_post(session: Session, campaign_id: str, post_id: int) -> PostView:
    """One post. Raises NotFound when the campaign has none of that id."""
    # SQLite and PostgreSQL refuse whole numbers over 64 bits with an error of their own
    if 0 < post_id < 2**63:
        for view in post_views(session, select_posts(campaign_id).where(Post.id == post_id)):
            return view
    raise NotFound(f"no post #{post_id} in campaign {campaign_id!r}", "List them with `aar forum list`")


def comment_view(row: Any) -> CommentView:
    """The view of one comment, or of its columns."""
    return CommentView(
        id=row.id,
        post_id=row.post_id,
        author=row.author,
        by_human=by_person(row.author, row.researcher_id),
        body=row.body,
        created_at=row.created_at,
        edited_at=row.edited_at,
        retracted_at=row.retracted_at,
        retraction=row.retraction,
    )


def comment_views(session: Session, campaign_id: str, comment_ids: Iterable[int]) -> list[CommentView]:
    """Comments of a campaign by id, oldest first."""
    query = _comments.where(Comment.campaign_id == campaign_id, Comment.id.in_(list(comment_ids)))
    return [comment_view(row) for row in session.execute(query.order_by(Comment.id))]


def threads(session: Session, campaign_id: str, post_ids: Iterable[int]) -> Iterator[ThreadView]:
    """Whole threads in the order of their ids, read a few hundred at a time; ids of other campaigns are passed over."""
    left = sorted(post_ids)
    while left:
        page, left = left[:_PAGE], left[_PAGE:]
        comments: dict[int, list[CommentView]] = defaultdict(list)
        for comment in session.execute(_comments.where(Comment.post_id.in_(page)).order_by(Comment.id)):
            comments[comment.post_id].append(comment_view(comment))
        query = select_posts(campaign_id).where(Post.id.in_(page)).order_by(Post.id)
        for post in _plain_views(session.execute(query)):
            yield thread_with_citations(session, ThreadView(post, comments[post.id]))
