"""Looks up the references in texts and their current status, for links on pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from aar.forum.figures.figure_markdown import SCHEME, shown_figures
from aar.forum.figures.figure_store import known_figures
from aar.forum.references.citations import submission_status_word
from aar.forum.references.reference_parser import find_references
from aar.forum.views import ThreadView
from aar.store.models import Post, Researcher, Submission

_MOST = 200
_MOST_SNAPSHOTS = 20


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
    numbers = [int(digits) for digits in find_references("submission", texts)[:_MOST]]
    posts = [int(digits) for digits in find_references("post", texts)[:_MOST]]
    names = find_references("researcher", texts)[:_MOST]
    digests = find_references("snapshot", texts)[:_MOST_SNAPSHOTS]
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
    shown = known_figures(session, campaign_id, shown_figures(texts)[:_MOST])
    found += [
        Reference(SCHEME + digits, "figure", each.digest, "", "", (each.width, each.height))
        for digits, each in shown.items()
    ]
    return found
