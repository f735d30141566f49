"""References in texts to submissions, posts, snapshots and researchers: citations, mentions, links.

A citation such as ``s7`` or ``#12`` has the current status of its target; a post about a submission also cites it. A
mention, ``@r2`` or from people ``@all``, is an event, first in the reader's news.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from aar.events import ResearchersMentioned
from aar.forum.authors import Author, is_by_person
from aar.forum.figures import known_figures
from aar.forum.markdown import EVERYBODY, FIGURE_SCHEME, find_references, shown_figures
from aar.forum.views import Citation, PostReference, PostView, ThreadView
from aar.store import event_log
from aar.store.models import Comment, Post, Researcher, Submission

_MAX_CITATIONS = 20
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
            cites=tuple(Citation(number, self.words[number]) for number in numbers[:_MAX_CITATIONS]),
            refers=tuple(self.posts[each] for each in posts[:_MAX_CITATIONS]),
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


def mentioned_names(texts: Sequence[str]) -> list[str]:
    """Return the names mentioned in the texts, in order, each once, code excluded."""
    return find_references("researcher", texts)


def record_mentions(
    session: Session,
    campaign_id: str,
    author: Author,
    texts: Sequence[str],
    *,
    post_id: int,
    comment_id: int | None = None,
    before: Sequence[str] = (),
) -> list[str]:
    """Append the event of a text's new mentions, if any; return the researchers' names.

    Args:
        session: in a write transaction.
        campaign_id: the campaign of the forum.
        author: of the texts; mentions of itself do not count.
        texts: current title and body.
        post_id: the post of the texts.
        comment_id: the comment of the texts, if any.
        before: the texts before an edit: their mentions were notified already.
    """
    named = set(mentioned_names(texts)) - set(mentioned_names(before))
    if not is_by_person(author.name, author.researcher_id):
        named.discard(EVERYBODY)
    if not named:
        return []
    query = select(Researcher.name, Researcher.id).where(Researcher.campaign_id == campaign_id)
    if EVERYBODY not in named:
        query = query.where(Researcher.name.in_(named))
    rows = session.execute(query.order_by(Researcher.index, Researcher.name))
    names = [row.name for row in rows if row.id != author.researcher_id]
    if names:
        happened = ResearchersMentioned(post_id=post_id, comment_id=comment_id, author=author.name, names=names)
        event_log.append_event(session, campaign_id, happened, author.researcher_id)
    return names


_MAX_LOOKUPS = 200
_MAX_SNAPSHOT_LOOKUPS = 20


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference in a text to something known.

    Args:
        written: as in the text: "s7", "#12", "@r2", digits of a digest, or "figure:" and digits.
        kind: "submission", "post", "researcher" or "figure"; a snapshot counts as its submission.
        key: the submission's number, the post's id, the researcher's name or the figure's digest.
        title: of the submission or post.
        status: current status, such as "refuted" or "retracted"; empty if there is none.
    """

    written: str
    kind: str
    key: int | str
    title: str
    status: str
    size: tuple[int, int] | None = None
    """Width and height of a figure, in pixels."""


def thread_texts(thread: ThreadView) -> list[str]:
    """Return all texts of a thread that may contain references."""
    return [thread.post.body, *(comment.body for comment in thread.comments)]


def known_references(session: Session, campaign_id: str, texts: Sequence[str]) -> list[Reference]:
    """Return the references that exist in the campaign, at most a few hundred.

    Code is excluded.
    """
    numbers = [int(digits) for digits in find_references("submission", texts)[:_MAX_LOOKUPS]]
    posts = [int(digits) for digits in find_references("post", texts)[:_MAX_LOOKUPS]]
    names = find_references("researcher", texts)[:_MAX_LOOKUPS]
    digests = find_references("snapshot", texts)[:_MAX_SNAPSHOT_LOOKUPS]
    found: list[Reference] = []
    if numbers or digests:
        wanted = or_(
            Submission.number.in_(numbers),
            *(Submission.digest.startswith(digest, autoescape=True) for digest in digests),
        )
        query = select(Submission).where(Submission.campaign_id == campaign_id, wanted).order_by(Submission.id)
        for row in session.scalars(query):
            status = submission_status_word(row.state, row.status, row.disqualified)
            own = [f"s{row.number}"] if row.number in numbers else []
            for written in own + [digest for digest in digests if row.digest.startswith(digest)]:
                said = status if written in own else f"s{row.number} {status}"
                found.append(Reference(written, "submission", row.number, row.title, said))
    if posts:
        rows = session.execute(
            select(Post.id, Post.title, Post.retracted_at).where(Post.campaign_id == campaign_id, Post.id.in_(posts))
        )
        found += [
            Reference(f"#{row.id}", "post", row.id, row.title, "retracted" if row.retracted_at else "") for row in rows
        ]
    if names:
        known = select(Researcher.name).where(Researcher.campaign_id == campaign_id, Researcher.name.in_(names))
        found += [Reference(f"@{name}", "researcher", name, "", "") for name in session.scalars(known)]
    shown = known_figures(session, campaign_id, shown_figures(texts)[:_MAX_LOOKUPS])
    found += [
        Reference(FIGURE_SCHEME + digits, "figure", each.digest, "", "", (each.width, each.height))
        for digits, each in shown.items()
    ]
    return found
