"""References in texts to submissions, posts, snapshots and researchers: citations, mentions, links.

A citation such as ``s7`` or ``#12`` has the current status of its target; a post about a submission also cites it. A
mention, ``@r2`` or from people ``@all``, is an event, first in the reader's news.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
_MAX_LOOKUPS = 200
_MAX_SNAPSHOT_LOOKUPS = 20
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


def submission_status_word(state: str, status: str, disqualified: str) -> str:
    """Return the status of a submission: claimed, measured, confirmed, refuted, rejected or disqualified."""
    if disqualified:
        return "disqualified"
    return "rejected" if state == "rejected" else status


def add_citations(session: Session, posts: Sequence[PostView]) -> list[PostView]:
    """Return the posts with the current status of their citations."""
    return _with_citations(session, [(post, [post.title, post.body]) for post in posts])


def add_thread_citations(session: Session, thread: ThreadView) -> ThreadView:
    """Return a thread whose post has the citations of its comments too."""
    texts = [thread.post.title, *thread_texts(thread)]
    return replace(thread, post=_with_citations(session, [(thread.post, texts)])[0])


def _with_citations(session: Session, posts: Sequence[tuple[PostView, Sequence[str]]]) -> list[PostView]:
    """Return posts with the citations in their texts, in order, each once. Unknown numbers are plain text."""
    if not posts:
        return []
    session.flush()
    campaign_id = posts[0][0].campaign_id
    cited = [(_submissions_of(post, texts), _numbers("post", texts)) for post, texts in posts]
    statuses = _submission_statuses(session, campaign_id, {number for numbers, _ in cited for number in numbers})
    titles = _post_references(session, campaign_id, list(dict.fromkeys(each for _, ids in cited for each in ids)))
    found = []
    for (post, _), (numbers, ids) in zip(posts, cited, strict=True):
        cites = [Citation(number, statuses[number]) for number in numbers if number in statuses]
        refers = [titles[each] for each in ids if each in titles and each != post.id]
        found.append(replace(post, cites=tuple(cites[:_MAX_CITATIONS]), refers=tuple(refers[:_MAX_CITATIONS])))
    return found


def _submissions_of(post: PostView, texts: Sequence[str]) -> list[int]:
    about = [] if post.submission_number is None else [post.submission_number]
    return list(dict.fromkeys(about + _numbers("submission", texts)))


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


def _numbers(kind: str, texts: Iterable[str]) -> list[int]:
    return [int(digits) for digits in find_references(kind, texts)]


def _submission_statuses(session: Session, campaign_id: str, numbers: Collection[int]) -> dict[int, str]:
    if not numbers:
        return {}
    params: dict[str, Any] = {"campaign": campaign_id}
    if len(numbers) < _ALL_FROM:
        rows = session.execute(_SOME_SUBMISSIONS, params | {"numbers": list(numbers)})
    else:
        rows = session.execute(_ALL_SUBMISSIONS, params)
    return {row.number: submission_status_word(row.state, row.status, row.disqualified) for row in rows}


def _post_references(session: Session, campaign_id: str, ids: Sequence[int]) -> dict[int, PostReference]:
    if not ids:
        return {}
    rows = session.execute(_SOME_POSTS, {"campaign": campaign_id, "ids": list(ids[:_MAX_LOOKUPS])})
    return {row.id: PostReference(row.id, row.title, "retracted" if row.retracted_at else "") for row in rows}


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
    named = set(find_references("researcher", texts)) - set(find_references("researcher", before))
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
        event = ResearchersMentioned(post_id=post_id, comment_id=comment_id, author=author.name, names=names)
        event_log.append_event(session, campaign_id, event, author.researcher_id)
    return names


def thread_texts(thread: ThreadView) -> list[str]:
    """Return all texts of a thread that may contain references."""
    return [thread.post.body, *(comment.body for comment in thread.comments)]


def known_references(session: Session, campaign_id: str, texts: Sequence[str]) -> list[Reference]:
    """Return the references that exist in the campaign, at most a few hundred.

    Code is excluded.
    """
    numbers = _numbers("submission", texts)[:_MAX_LOOKUPS]
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
                shown = status if written in own else f"s{row.number} {status}"
                found.append(Reference(written, "submission", row.number, row.title, shown))
    posts = _post_references(session, campaign_id, _numbers("post", texts)).values()
    found += [Reference(f"#{each.id}", "post", each.id, each.title, each.status) for each in posts]
    if names:
        known = select(Researcher.name).where(Researcher.campaign_id == campaign_id, Researcher.name.in_(names))
        found += [Reference(f"@{name}", "researcher", name, "", "") for name in session.scalars(known)]
    figures = known_figures(session, campaign_id, shown_figures(texts)[:_MAX_LOOKUPS])
    found += [
        Reference(FIGURE_SCHEME + digits, "figure", each.digest, "", "", (each.width, each.height))
        for digits, each in figures.items()
    ]
    return found
