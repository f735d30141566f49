"""Queries posts and comments as views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.forum.references.citations import add_citations, add_thread_citations
from aar.forum.views import CommentView, PostView, ThreadView, is_by_person
from aar.store.models import Comment, Post, Submission

# Built once, of tables: the mapper's way from a query to its rows takes longer than the database's
POSTS, _COMMENTS = Post.__table__.c, Comment.__table__.c
_SUBMISSIONS = Submission.__table__.c
_comments = select(
    _COMMENTS.id,
    _COMMENTS.post_id,
    _COMMENTS.author,
    _COMMENTS.researcher_id,
    _COMMENTS.body,
    _COMMENTS.created_at,
    _COMMENTS.edited_at,
    _COMMENTS.retracted_at,
    _COMMENTS.retraction,
)
_PAGE = 300  # SQLite binds at most 999 values a statement in its older builds

_comment_count = (
    select(func.count(_COMMENTS.id))
    .where(_COMMENTS.post_id == POSTS.id)
    .correlate(Post.__table__)
    .scalar_subquery()
    .label("comments")
)
_posts = select(
    POSTS.id,
    POSTS.campaign_id,
    POSTS.author,
    POSTS.researcher_id,
    POSTS.kind,
    POSTS.title,
    POSTS.body,
    POSTS.score,
    _comment_count,
    _SUBMISSIONS.number,
    POSTS.created_at,
    POSTS.edited_at,
    POSTS.retracted_at,
    POSTS.retraction,
    POSTS.pinned_at,
    POSTS.families,
).select_from(Post.__table__.outerjoin(Submission.__table__, _SUBMISSIONS.id == POSTS.submission_id))
_one_post = _posts.where(POSTS.campaign_id == bindparam("campaign"), POSTS.id == bindparam("post"))
_posts_by_id = _posts.where(
    POSTS.campaign_id == bindparam("campaign"), POSTS.id.in_(bindparam("posts", expanding=True))
).order_by(POSTS.id)


def select_posts(campaign_id: str) -> Select[Any]:
    """Select the columns of ``post_views``; add conditions, order and limit."""
    return _posts.where(POSTS.campaign_id == campaign_id)


def post_views(session: Session, query: Select[Any]) -> list[PostView]:
    """Return the posts of a query from ``select_posts``, with the status of their citations."""
    session.flush()
    return add_citations(session, _plain_views(session.execute(query)))


def posts_by_id(session: Session, campaign_id: str, ids: Collection[int]) -> list[PostView]:
    """Return the campaign's posts by ids, in their order, at most a few hundred."""
    if not ids:
        return []
    session.flush()
    rows = session.execute(_posts_by_id, {"campaign": campaign_id, "posts": list(ids)})
    return add_citations(session, _plain_views(rows))


def pinned_posts(session: Session, campaign_id: str) -> list[PostView]:
    """Return the pinned posts, the last pinned first; at most 20."""
    query = select_posts(campaign_id).where(POSTS.pinned_at.is_not(None))
    return post_views(session, query.order_by(POSTS.pinned_at.desc(), POSTS.id.desc()).limit(20))


def _plain_views(rows: Iterable[Any]) -> list[PostView]:
    return [
        PostView(
            id=row.id,
            campaign_id=row.campaign_id,
            author=row.author,
            researcher_id=row.researcher_id,
            by_human=is_by_person(row.author, row.researcher_id),
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
            families=tuple(row.families),
        )
        for row in rows
    ]


def find_post(session: Session, campaign_id: str, post_id: int) -> PostView:
    """Return one post. Raises NotFound if the campaign has none with that id."""
    # SQLite and PostgreSQL refuse whole numbers over 64 bits with an error of their own
    if 0 < post_id < 2**63:
        session.flush()
        rows = session.execute(_one_post, {"campaign": campaign_id, "post": post_id})
        for view in add_citations(session, _plain_views(rows)):
            return view
    raise NotFound(f"no post #{post_id} in campaign {campaign_id!r}", "List them with `aar forum list`")


def comment_view(row: Any) -> CommentView:
    """Return the view of one comment, or of its columns."""
    return CommentView(
        id=row.id,
        post_id=row.post_id,
        author=row.author,
        by_human=is_by_person(row.author, row.researcher_id),
        body=row.body,
        created_at=row.created_at,
        edited_at=row.edited_at,
        retracted_at=row.retracted_at,
        retraction=row.retraction,
    )


def comment_views(session: Session, campaign_id: str, comment_ids: Iterable[int]) -> list[CommentView]:
    """Return comments of a campaign by id, oldest first."""
    session.flush()
    query = _comments.where(_COMMENTS.campaign_id == campaign_id, _COMMENTS.id.in_(list(comment_ids)))
    return [comment_view(row) for row in session.execute(query.order_by(_COMMENTS.id))]


def threads(session: Session, campaign_id: str, post_ids: Iterable[int]) -> Iterator[ThreadView]:
    """Return whole threads in the order of their ids.

    A few hundred are read at a time.

    Omit ids of other campaigns.
    """
    session.flush()
    left = sorted(post_ids)
    while left:
        page, left = left[:_PAGE], left[_PAGE:]
        comments: dict[int, list[CommentView]] = defaultdict(list)
        for comment in session.execute(_comments.where(_COMMENTS.post_id.in_(page)).order_by(_COMMENTS.id)):
            comments[comment.post_id].append(comment_view(comment))
        for post in _plain_views(session.execute(_posts_by_id, {"campaign": campaign_id, "posts": page})):
            yield add_thread_citations(session, ThreadView(post, comments[post.id]))
