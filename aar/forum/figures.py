"""Stores the figures of a campaign, once each, by digest of their bytes.

A text is stored together with its figures, or neither of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.forum.authors import Author, validate_author
from aar.forum.image_formats import SUFFIXES, ImageInfo, InvalidImage, inspect_image
from aar.forum.markdown import FIGURE_DIGITS, FIGURE_SCHEME, parse_markdown, replace_image_addresses, shown_figures
from aar.store import event_log
from aar.store.models import Figure
from aar.text import shorten, validate_text

MAX_FIGURE_BYTES = 512 * 1024
"""Most bytes of one figure."""
MAX_FIGURE_SIDE = 4000
"""Most pixels of a figure's width, and of its height."""
MAX_FIGURE_PIXELS = MAX_FIGURE_SIDE**2
"""Most pixels of a figure, all frames of an animation together."""
MAX_FIGURES = 6
"""Most figures in one post or comment."""
MAX_AUTHOR_FIGURES = 200
"""Most figures of one author in a campaign."""
MAX_AUTHOR_FIGURE_BYTES = 40 * 1024 * 1024
"""Most bytes of all figures of one author."""
_FIGURES = Figure.__table__.c
_FACTS = [each for each in _FIGURES if each.key != "data"]
_PAGE = 100


@dataclass(frozen=True, slots=True)
class NewFigure:
    """A checked image that is not stored yet."""

    data: bytes
    digest: str
    facts: ImageInfo


@dataclass(frozen=True, slots=True)
class FigureView:
    """A figure without its bytes.

    Args:
        digest: SHA-256 of the bytes.
        author: who stored it first.
        width, height: pixels.
    """

    digest: str
    author: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    created_at: datetime

    @property
    def short(self) -> str:
        """Return the digits that identify it in its campaign."""
        return self.digest[:FIGURE_DIGITS]

    @property
    def markdown(self) -> str:
        """Return the Markdown that shows it."""
        return f"![]({FIGURE_SCHEME}{self.short})"

    @property
    def file_name(self) -> str:
        """Return its file name."""
        return self.short + SUFFIXES[self.media_type]


def inspect_figure(name: str, data: bytes) -> NewFigure:
    """Check an image, outside any transaction.

    Args:
        name: its author's name for it, for messages.
        data: the bytes.

    Raises:
        UsageError: it is not an image of a supported format, or too large.
    """
    what = f"figure {shorten(name, 200)!r}"
    if len(data) > MAX_FIGURE_BYTES:
        raise too_large_message(name)
    try:
        facts = inspect_image(data)
    except InvalidImage as error:
        raise UsageError(f"{what}: {error}; nothing was stored", "Save it again as PNG, JPEG, GIF or WebP") from error
    if max(facts.width, facts.height) > MAX_FIGURE_SIDE:
        raise UsageError(
            f"{what} is too large: got {facts.width:,} x {facts.height:,} pixels, "
            f"expected at most {MAX_FIGURE_SIDE:,} a side; "
            "nothing was stored",
            "Save it smaller, with a lower dpi",
        )
    if facts.pixels > MAX_FIGURE_PIXELS:
        raise UsageError(
            f"{what} is too large: got {facts.pixels:,} pixels in {facts.frames:,} frames, "
            f"expected at most {MAX_FIGURE_PIXELS:,}; "
            "nothing was stored",
            "Save it smaller, or with fewer frames",
        )
    return NewFigure(data, hashlib.sha256(data).hexdigest(), facts)


def too_large_message(name: str) -> UsageError:
    """Return the error for a figure over the limit.

    Its bytes need not be read to the end.
    """
    return UsageError(
        f"figure {shorten(name, 200)!r} is too large: expected at most {MAX_FIGURE_BYTES // 1024} KiB; "
        "nothing was stored",
        "Save it smaller, with a lower dpi or fewer points",
    )


def store_figure(session: Session, campaign_id: str, author: Author, figure: NewFigure) -> FigureView:
    """Store a figure.

    One that the campaign already has stays as it is, and does not count for its author.

    Args:
        session: in a write transaction.
        campaign_id: the campaign of the forum.
        author: of the text with the figure.
        figure: from ``inspect_figure``.

    Raises:
        NotFound: no such campaign or researcher.
        UsageError: the author's figures would pass a limit; nothing is stored.
    """
    event_log.lock_campaign(session, campaign_id)
    author = validate_author(session, campaign_id, author)
    known = known_figures(session, campaign_id, [figure.digest[:FIGURE_DIGITS]]).get(figure.digest[:FIGURE_DIGITS])
    if known is not None and known.digest != figure.digest:  # somebody worked for that
        raise UsageError(f"another figure has the digits {known.short}", "Save the figure again")
    if known is not None:
        return known
    _check_room(session, campaign_id, author, len(figure.data))
    row = Figure(
        campaign_id=campaign_id,
        digest=figure.digest,
        researcher_id=author.researcher_id,
        author=author.name,
        media_type=figure.facts.media_type,
        width=figure.facts.width,
        height=figure.facts.height,
        size_bytes=len(figure.data),
        data=figure.data,
    )
    session.add(row)
    session.flush()
    return _view(row)


def known_figures(session: Session, campaign_id: str, digits: Collection[str]) -> dict[str, FigureView]:
    """Return the campaign's figures by digits, in the order of ``digits``; omit unknown ones."""
    found: dict[str, FigureView] = {}
    left = list(dict.fromkeys(digits))
    while left:
        page, left = left[:_PAGE], left[_PAGE:]
        named = or_(*(and_(_FIGURES.digest >= each, _FIGURES.digest < each + "g") for each in page))
        for row in session.execute(select(*_FACTS).where(_FIGURES.campaign_id == campaign_id, named)):
            found |= {each: _view(row) for each in page if row.digest.startswith(each)}
    return {each: found[each] for each in digits if each in found}


def find_figure(session: Session, campaign_id: str, digits: str) -> tuple[FigureView, bytes]:
    """Return a figure and its bytes. Raises NotFound."""
    view = known_figures(session, campaign_id, [digits]).get(digits) if len(digits) >= FIGURE_DIGITS else None
    if view is None:
        raise NotFound(
            f"no figure {shorten(digits, 64)} in campaign {campaign_id!r}", "See the posts for existing figures"
        )
    query = select(_FIGURES.data).where(_FIGURES.campaign_id == campaign_id, _FIGURES.digest == view.digest)
    return view, session.execute(query).scalar_one()


def _check_room(session: Session, campaign_id: str, author: Author, more: int) -> None:
    query = select(func.count(_FIGURES.id), func.coalesce(func.sum(_FIGURES.size_bytes), 0)).where(
        _FIGURES.campaign_id == campaign_id, _FIGURES.author == author.name
    )
    count, size = session.execute(query).one()
    if count >= MAX_AUTHOR_FIGURES:
        raise UsageError(
            f"too many figures of {author.name}: got {count}, expected at most {MAX_AUTHOR_FIGURES}; "
            "nothing was stored",
            "Show one of those again, or write the numbers as a table",
        )
    if size + more > MAX_AUTHOR_FIGURE_BYTES:
        raise UsageError(
            f"figures of {author.name} are too large: got {size + more:,} bytes, "
            f"expected at most {MAX_AUTHOR_FIGURE_BYTES:,}; "
            "nothing was stored",
            "Save it smaller, or write the numbers as a table",
        )


def _view(row: Any) -> FigureView:
    return FigureView(row.digest, row.author, row.media_type, row.width, row.height, row.size_bytes, row.created_at)


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
    text = replace_image_addresses(text, {path: FIGURE_SCHEME + short for path, short in new.items()})
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
    return [path for path in parse_markdown(text).image_paths if path in attached] if attached else []
