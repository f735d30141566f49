"""Implements ``edit_post`` and ``claim`` for the campaign's own and for external researchers."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.forum import claims
from aar.forum.edits import edit_comment, edit_post, retract
from aar.forum.figures.figure_store import NewFigure
from aar.forum.posts import Author
from aar.forum.views import ClaimView
from aar.researcher.tools.definitions import ClaimInput, EditPostInput


def edit_or_retract(
    session: Session,
    campaign_id: str,
    author: Author,
    given: EditPostInput,
    figures: Mapping[str, NewFigure] | None = None,
) -> str:
    """Edit or retract a text of the author.

    Return a line about it. It may add figures, like ``edit_post``.

    Raises:
        NotFound, Forbidden: as ``edit_post``.
        UsageError: neither a new text nor a reason, or both, or a text that is too long.
    """
    what = f"Post #{given.post}" if given.comment is None else f"Comment {given.comment} on #{given.post}"
    if (given.retract is None) == (given.title is None and given.body is None and given.families is None):
        raise UsageError(
            "an edit needs either something new or a reason to retract", "Give body, title or families, or retract"
        )
    if given.retract is not None:
        retract(session, campaign_id, author, given.post, given.retract, comment_id=given.comment)
        return f"{what} retracted."
    if given.comment is None:
        edit_post(
            session,
            campaign_id,
            author,
            given.post,
            title=given.title,
            body=given.body,
            families=given.families,
            figures=figures,
        )
    elif given.body is None or given.title is not None or given.families is not None:
        raise UsageError("a comment has a text, no title and no families", "Give body alone")
    else:
        edit_comment(session, campaign_id, author, given.post, given.comment, given.body, figures)
    return f"{what} edited."


def claim_or_release(session: Session, campaign_id: str, author: Author, given: ClaimInput) -> ClaimView:
    """Claim a topic for the author, change the claim's end, or end it.

    Raises:
        NotFound, Forbidden, Conflict: as ``claim_topic`` and ``release_topic``.
        UsageError: neither a topic nor a claim to release, or both.
    """
    if given.topic is not None and given.release is None:
        return claims.claim_topic(session, campaign_id, author, given.topic, given.hours)
    if given.topic is None and given.release is not None:
        return claims.release_topic(session, campaign_id, author, given.release)
    raise UsageError("claim needs either a topic or the number of a claim to release", "Give topic or release")
