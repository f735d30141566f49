"""Submissions that posts cite, as ``s7`` in a text or by what a post is about, and how each of them stands now."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from aar.forum.views import Citation, PostView, ThreadView
from aar.store.models import Comment, Post, Submission

_CITED = re.compile(r"(?<![\w./-])s([1-9]\d{0,5})(?![\w-]|\.\w)")
_MOST = 20
_ALL_FROM = 200
"""When so many numbers are looked for, the whole campaign's are read: databases bind a limited number of values."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a campaign's submissions stand, by number."""

    words: Mapping[int, str]

    def of(self, texts: Iterable[str], about: int | None = None) -> tuple[Citation, ...]:
        """What the texts cite, in order and each once; numbers that no submission has are only words."""
        numbers = dict.fromkeys([] if about is None else [about])
        for text in texts:
            numbers |= dict.fromkeys(int(digits) for digits in _CITED.findall(text))
        known = [number for number in numbers if number in self.words]
        return tuple(Citation(number, self.words[number]) for number in known[:_MOST])


def standing_word(state: str, status: str, disqualified: str) -> str:
    """How a submission stands, in one word: claimed, measured, confirmed, refuted, rejected or disqualified."""
    if disqualified:
        return "disqualified"
    return "rejected" if state == "rejected" else status


def with_citations(session: Session, posts: Sequence[PostView]) -> list[PostView]:
    """The posts with what they cite, as it stands now."""
    if not posts:
        return []
    standing = _standing(session, posts[0].campaign_id, [_texts(post) for post in posts], posts)
    return [replace(post, cites=standing.of(_texts(post), post.submission_number)) for post in posts]


def thread_with_citations(session: Session, thread: ThreadView) -> ThreadView:
    """A thread whose post names what the comments cite too."""
    texts = [*_texts(thread.post), *(comment.body for comment in thread.comments)]
    standing = _standing(session, thread.post.campaign_id, [texts], [thread.post])
    return replace(thread, post=replace(thread.post, cites=standing.of(texts, thread.post.submission_number)))


def posts_citing(session: Session, campaign_id: str, numbers: Collection[int]) -> set[int]:
    """Ids of the posts in which, or in whose comments, one of these numbers may be cited; a few too many at worst."""
    found: set[int] = set()
    for number in numbers:
        word = f"s{number}"
        posts = select(Post.id).outerjoin(Submission, Submission.id == Post.submission_id)
        named = or_(Submission.number == number, Post.title.contains(word), Post.body.contains(word))
        found.update(session.scalars(posts.where(Post.campaign_id == campaign_id, named)))
        said = select(Comment.post_id).where(Comment.campaign_id == campaign_id, Comment.body.contains(word))
        found.update(session.scalars(said))
    return found


def _texts(post: PostView) -> list[str]:
    return [post.title, post.body]


def _standing(
    session: Session, campaign_id: str, texts: Iterable[Iterable[str]], posts: Iterable[PostView]
) -> Standing:
    numbers = {int(digits) for group in texts for text in group for digits in _CITED.findall(text)}
    numbers |= {post.submission_number for post in posts if post.submission_number is not None}
    if not numbers:
        return Standing({})
    query = select(Submission.number, Submission.state, Submission.status, Submission.disqualified).where(
        Submission.campaign_id == campaign_id
    )
    if len(numbers) < _ALL_FROM:
        query = query.where(Submission.number.in_(numbers))
    return Standing(
        {row.number: standing_word(row.state, row.status, row.disqualified) for row in session.execute(query)}
    )
