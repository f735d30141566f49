"""Citations in posts, such as ``s7`` and ``#12``, and their status.

A post about a submission also cites it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from aar.forum.references.reference_parser import find_references
from aar.forum.views import Citation, PostReference, PostView, ThreadView
from aar.store.models import Comment, Post, Submission

_MOST = 20
_ALL_FROM = 200
"""Above this many numbers all of the campaign are read, because databases limit the number of bound values."""

# Built once, of tables: every view of the forum runs them
_SUBMISSIONS, _POSTS = Submission.__table__.c, Post.__table__.c
_ALL_SUBMISSIONS = select(
    _SUBMISSIONS.number, _SUBMISSIONS.state, _SUBMISSIONS.status, _SUBMISSIONS.disqualified
).where(_SUBMISSIONS.campaign_id == bindparam("campaign"))
_SOME_SUBMISSIONS = _ALL_SUBMISSIONS.where(_SUBMISSIONS.number.in_(bindparam("numbers", expanding=True)))
_SOME_POSTS = select(_POSTS.id, _POSTS.title, _POSTS.retracted_at).where(
    _POSTS.campaign_id == bindparam("campaign"), _POSTS.id.in_(bindparam("ids", expanding=True))
)


@dataclass(frozen=True, slots=True)
class CitationStatuses:
    """The status of cited submissions, by number, and of cited posts, by id."""

    words: Mapping[int, str]
    posts: Mapping[int, PostReference]

    def of(self, texts: Sequence[str], post: PostView) -> PostView:
        """Return the post with its citations, in order, each once.

        Unknown numbers are plain text.
        """
        about = [] if post.submission_number is None else [post.submission_number]
        numbers = [each for each in dict.fromkeys(about + _numbers("submission", texts)) if each in self.words]
        posts = [each for each in _numbers("post", texts) if each in self.posts and each != post.id]
        return replace(
            post,
            cites=tuple(Citation(number, self.words[number]) for number in numbers[:_MOST]),
            refers=tuple(self.posts[each] for each in posts[:_MOST]),
        )


def submission_status_word(state: str, status: str, disqualified: str) -> str:
    """Return the status of a submission: claimed, measured, confirmed, refuted, rejected or disqualified."""
    if disqualified:
        return "disqualified"
    return "rejected" if state == "rejected" else status


def add_citations(session: Session, posts: Sequence[PostView]) -> list[PostView]:
    """Return the posts with the current status of their citations."""
    if not posts:
        return []
    texts = [_texts(post) for post in posts]
    standing = _standing(session, posts[0].campaign_id, [text for each in texts for text in each], posts)
    return [standing.of(own, post) for own, post in zip(texts, posts, strict=True)]


def add_thread_citations(session: Session, thread: ThreadView) -> ThreadView:
    """Return a thread whose post has the citations of its comments too."""
    texts = [*_texts(thread.post), *(comment.body for comment in thread.comments)]
    standing = _standing(session, thread.post.campaign_id, texts, [thread.post])
    return replace(thread, post=standing.of(texts, thread.post))


def posts_naming(session: Session, campaign_id: str, ids: Collection[int]) -> set[int]:
    """Return ids of posts that may cite these posts, in comments too.

    May include a few more.
    """
    return {found for post_id in ids for found in _holding(session, campaign_id, f"#{post_id}")}


def posts_citing(session: Session, campaign_id: str, numbers: Collection[int]) -> set[int]:
    """Return ids of posts that may cite these submissions, in comments too.

    May include a few more.
    """
    found: set[int] = set()
    for number in numbers:
        found |= _holding(session, campaign_id, f"s{number}")
        about = select(Post.id).join(Submission, Submission.id == Post.submission_id)
        found.update(session.scalars(about.where(Post.campaign_id == campaign_id, Submission.number == number)))
    return found


def _holding(session: Session, campaign_id: str, word: str) -> set[int]:
    named = or_(Post.title.contains(word), Post.body.contains(word))
    said = select(Comment.post_id).where(Comment.campaign_id == campaign_id, Comment.body.contains(word))
    return {*session.scalars(select(Post.id).where(Post.campaign_id == campaign_id, named)), *session.scalars(said)}


def _texts(post: PostView) -> list[str]:
    return [post.title, post.body]


def _numbers(kind: str, texts: Iterable[str]) -> list[int]:
    return [int(digits) for digits in find_references(kind, texts)]


def _standing(session: Session, campaign_id: str, texts: Sequence[str], posts: Iterable[PostView]) -> CitationStatuses:
    session.flush()
    numbers = {*_numbers("submission", texts), *(each.submission_number for each in posts if each.submission_number)}
    named = _numbers("post", texts)
    return CitationStatuses(
        _submission_words(session, campaign_id, numbers) if numbers else {},
        _post_references(session, campaign_id, named) if named else {},
    )


def _submission_words(session: Session, campaign_id: str, numbers: Collection[int]) -> dict[int, str]:
    asked: dict[str, Any] = {"campaign": campaign_id}
    if len(numbers) < _ALL_FROM:
        rows = session.execute(_SOME_SUBMISSIONS, asked | {"numbers": list(numbers)})
    else:
        rows = session.execute(_ALL_SUBMISSIONS, asked)
    return {row.number: submission_status_word(row.state, row.status, row.disqualified) for row in rows}


def _post_references(session: Session, campaign_id: str, ids: Sequence[int]) -> dict[int, PostReference]:
    rows = session.execute(_SOME_POSTS, {"campaign": campaign_id, "ids": list(ids[:_ALL_FROM])})
    return {row.id: PostReference(row.id, row.title, "retracted" if row.retracted_at else "") for row in rows}
