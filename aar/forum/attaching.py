"""Texts that bring figures: the figures are stored together with the text, or neither is."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.forum.figures import NewFigure, known_figures, store_figure
from aar.forum.limits import MAX_FIGURES
from aar.forum.showing import SCHEME, figures_in, paths_in, rewritten
from aar.forum.text import checked
from aar.forum.views import Author


def checked_with_figures(
    session: Session,
    campaign_id: str,
    author: Author,
    name: str,
    text: str,
    limit: int,
    attached: Mapping[str, NewFigure] | None,
) -> str:
    """Like ``checked``, for a text that may show figures: stores those attached and writes their digests into it.

    Args:
        session: in a write transaction.
        campaign_id: whose forum.
        author: who writes.
        name: what the text is, for messages.
        text: Markdown as it came.
        limit: most characters.
        attached: figures by the paths under which the text shows them.

    Raises:
        NotFound: the text shows a figure that the campaign does not have.
        UsageError: an empty or too long text, too many figures, or a limit of the author's; nothing is stored.
    """
    text = checked(name, text, limit)
    if "![" not in text:
        return text
    attached = attached or {}
    wanted = [path for path in paths_in(text) if path in attached]
    shown = figures_in([text])
    if len(wanted) + len(shown) > MAX_FIGURES:
        raise UsageError(
            f"the {name} shows {len(wanted) + len(shown)} figures, and the limit is {MAX_FIGURES}; nothing was stored",
            "Split it over several posts or comments",
        )
    known = known_figures(session, campaign_id, shown)
    for digits in shown:
        if digits not in known:
            raise NotFound(f"no figure {digits} in campaign {campaign_id!r}; nothing was stored", "Attach it first")
    new = {path: store_figure(session, campaign_id, author, attached[path]).short for path in wanted}
    text = rewritten(text, {path: SCHEME + short for path, short in new.items()})
    left = [path for path in paths_in(text) if path in new]
    if left:
        raise UsageError(f"figure {left[0][:200]!r} cannot be shown as it is written", "Write ![caption](PATH)")
    return checked(name, text, limit)
