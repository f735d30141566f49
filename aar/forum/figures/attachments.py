"""Stores a text together with its figures, or neither of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.forum.figures.figure_markdown import SCHEME, replace_image_addresses, shown_figures, shown_paths
from aar.forum.figures.figure_store import NewFigure, known_figures, store_figure
from aar.forum.text_limits import MAX_FIGURES
from aar.forum.views import Author
from aar.text.sanitize import validate_text


def store_text_with_figures(
    session: Session,
    campaign_id: str,
    author: Author,
    name: str,
    text: str,
    limit: int,
    attached: Mapping[str, NewFigure] | None,
) -> str:
    """Validate a text, store its attached figures, and write their digests into it.

    Args:
        session: in a write transaction.
        campaign_id: the campaign of the forum.
        author: of the text.
        name: of the text, for messages.
        text: Markdown as received.
        limit: most characters.
        attached: figures by their paths in the text.

    Raises:
        NotFound: the text shows a figure that the campaign does not have.
        UsageError: an empty or too long text, too many figures, or a limit of the author's; nothing is stored.
    """
    attached = attached or {}
    text = validate_text_with_figures(session, campaign_id, name, text, limit, attached)
    wanted = _wanted(text, attached)
    if not wanted:
        return text
    new = {path: store_figure(session, campaign_id, author, attached[path]).short for path in wanted}
    text = replace_image_addresses(text, {path: SCHEME + short for path, short in new.items()})
    left = _wanted(text, attached)
    if left:
        raise UsageError(f"invalid figure address {left[0][:200]!r}", "Write ![caption](PATH)")
    return validate_text(name, text, limit)


def validate_text_with_figures(
    session: Session, campaign_id: str, name: str, text: str, limit: int, attached: Collection[str] = ()
) -> str:
    """Validate a text like ``validate_text``, figures included; store nothing. Raises NotFound, UsageError."""
    text = validate_text(name, text, limit)
    shown = shown_figures([text])
    count = len(shown) + len(_wanted(text, attached))
    if count > MAX_FIGURES:
        raise UsageError(
            f"too many figures in the {name}: got {count}, expected at most {MAX_FIGURES}; nothing was stored",
            "Split it over several posts or comments",
        )
    known = known_figures(session, campaign_id, shown)
    for digits in shown:
        if digits not in known:
            raise NotFound(f"no figure {digits} in campaign {campaign_id!r}; nothing was stored", "Attach it first")
    return text


def _wanted(text: str, attached: Collection[str]) -> list[str]:
    return [path for path in shown_paths(text) if path in attached] if attached else []
