"""Reads and writes posts, comments and votes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, cast

from sqlalchemy import Result, Select, Table, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.events import CommentCreated, PostCreated, VoteCast
from aar.families import validate_families
from aar.forum.authors import Author, is_by_person, storage_key, validate_author
from aar.forum.figures import NewFigure, store_text_with_figures
from aar.forum.references import add_citations, add_thread_citations, record_mentions
from aar.forum.views import MAX_BODY, MAX_COMMENT, MAX_FAMILIES, MAX_TITLE, CommentView, PostView, ThreadView
from aar.store import event_log
from aar.store.models import Comment, Post, Submission, Vote
from aar.text import validate_text

POST_KINDS = ("hypothesis", "result", "insight", "error", "question")

# Built once, of tables: the mapper's way from a query to its rows takes longer than the database's
_POST = Post.__table__.alias("p")
POSTS, _COMMENTS, _SUBMISSIONS = _POST.c, Comment.__table__.c, Submission.__table__.c
_comments = select(*(column for column in _COMMENTS if column.key not in ("campaign_id", "idempotency_key")))
_comment_count = (
    select(func.count(_COMMENTS.id)).where(_COMMENTS.post_id == POSTS.id).correlate(_POST).scalar_subquery()
)
_posts = select(
    *(column for column in POSTS if column.key not in ("submission_id", "pinned_at", "idempotency_key")),
    _comment_count.label("comments"),
    _SUBMISSIONS.number.label("submission_number"),
    POSTS.pinned_at.is_not(None).label("pinned"),
).select_from(_POST.outerjoin(Submission.__table__, _SUBMISSIONS.id == POSTS.submission_id))
_one_post = _posts.where(POSTS.campaign_id == bindparam("campaign"), POSTS.id == bindparam("post"))
_posts_by_id = _posts.where(
    POSTS.campaign_id == bindparam("campaign"), POSTS.id.in_(bindparam("posts", expanding=True))
).order_by(POSTS.id)
_PAGE = 300  # SQLite binds at most 999 values a statement in its older builds
_INSERT = insert(cast(Table, Post.__table__)).returning(Post.__table__.c.id)


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
    event = PostCreated(
        post_id=post_id, author=author.name, post_kind=kind, title=row["title"], families=row["families"]
    )
    event_log.append_event(session, campaign_id, event, author.researcher_id)
    record_mentions(session, campaign_id, author, (row["title"], row["body"]), post_id=post_id)
    return find_post(session, campaign_id, post_id)


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
    event = CommentCreated(post_id=post.id, comment_id=comment.id, author=author.name)
    event_log.append_event(session, campaign_id, event, author.researcher_id)
    record_mentions(session, campaign_id, author, (comment.body,), post_id=post.id, comment_id=comment.id)
    return comment_view(comment)


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


def get_thread(session: Session, campaign_id: str, post_id: int) -> ThreadView:
    """Return a post with all its comments. Raises NotFound."""
    post = find_post(session, campaign_id, post_id)
    comments = session.scalars(select(Comment).where(Comment.post_id == post.id).order_by(Comment.id))
    return add_thread_citations(session, ThreadView(post, [comment_view(comment) for comment in comments]))


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


def pinned_posts(session: Session, campaign_id: str) -> list[PostView]:
    """Return the pinned posts, the last pinned first; at most 20."""
    query = select_posts(campaign_id).where(POSTS.pinned_at.is_not(None))
    return post_views(session, query.order_by(POSTS.pinned_at.desc(), POSTS.id.desc()).limit(20))


def find_post(session: Session, campaign_id: str, post_id: int) -> PostView:
    """Return one post. Raises NotFound if the campaign has none with that id."""
    # SQLite and PostgreSQL refuse whole numbers over 64 bits with an error of their own
    if 0 < post_id < 2**63:
        session.flush()
        rows = session.execute(_one_post, {"campaign": campaign_id, "post": post_id})
        for view in add_citations(session, _plain_views(rows)):
            return view
    raise NotFound(f"no post #{post_id} in campaign {campaign_id!r}", "List them with `aar forum list`")


def posts_by_id(session: Session, campaign_id: str, ids: Collection[int]) -> list[PostView]:
    """Return the campaign's posts by ids, in their order, at most a few hundred."""
    if not ids:
        return []
    session.flush()
    rows = session.execute(_posts_by_id, {"campaign": campaign_id, "posts": list(ids)})
    return add_citations(session, _plain_views(rows))


def comment_views(session: Session, campaign_id: str, comment_ids: Iterable[int]) -> list[CommentView]:
    """Return comments of a campaign by id, oldest first."""
    session.flush()
    query = _comments.where(_COMMENTS.campaign_id == campaign_id, _COMMENTS.id.in_(list(comment_ids)))
    return [comment_view(row) for row in session.execute(query.order_by(_COMMENTS.id))]


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


def select_posts(campaign_id: str) -> Select[Any]:
    """Select the posts of a campaign for ``post_views``; add conditions on ``POSTS``, order and limit."""
    return _posts.where(POSTS.campaign_id == campaign_id)


def post_views(session: Session, query: Select[Any], params: Mapping[str, Any] | None = None) -> list[PostView]:
    """Return the posts of a query from ``select_posts``, with the status of their citations."""
    session.flush()
    return add_citations(session, _plain_views(session.execute(query, params)))


def check_kind(kind: str) -> None:
    """Raise UsageError for an unknown kind of post."""
    if kind not in POST_KINDS:
        raise UsageError(f"unknown post kind {kind[:40]!r}", f"Choose one of {', '.join(POST_KINDS)}")


def _plain_views(rows: Result[Any]) -> list[PostView]:
    return [
        PostView(
            **row | {"families": tuple(row["families"]), "by_human": is_by_person(row["author"], row["researcher_id"])}
        )
        for row in map(dict[str, Any], rows.mappings())
    ]


def _submission_id(session: Session, campaign_id: str, number: int | None) -> int | None:
    if number is None:
        return None
    submission_id = session.scalar(
        select(Submission.id).where(Submission.campaign_id == campaign_id, Submission.number == number)
    )
    if submission_id is None:
        raise NotFound(f"no submission s{number} in campaign {campaign_id!r}", "List them with `aar submissions`")
    return submission_id
