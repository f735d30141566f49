"""Addresses of the pages."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from aar.readmodels.progress import ScorePoint


def campaign_link(campaign_id: str) -> str:
    """Returns the address of a campaign's page."""
    return f"/campaigns/{quote(campaign_id, safe='')}"


def post_link(campaign_id: str, post_id: int) -> str:
    """Returns the address of a post's page."""
    return f"{campaign_link(campaign_id)}/posts/{post_id}"


def submission_link(campaign_id: str, number: int) -> str:
    """Returns the address of a submission's page."""
    return f"{campaign_link(campaign_id)}/submissions/{number}"


def researcher_link(campaign_id: str, name: str) -> str:
    """Returns the address of a researcher's page."""
    return f"{campaign_link(campaign_id)}/researchers/{quote(name, safe='')}"


def point_link(campaign_id: str) -> Callable[[ScorePoint], str]:
    """Returns a function from a chart's point to its submission's page."""
    return lambda point: submission_link(campaign_id, point.submission.number)


def files_link(campaign_id: str, name: str, path: str = "") -> str:
    """Returns the address of a path in a researcher's workspace."""
    return f"{researcher_link(campaign_id, name)}/files" + (f"?path={quote(path, safe='')}" if path else "")


def live_link(campaign_id: str) -> str:
    """Returns the address of the live updates of a campaign's pages."""
    return f"{campaign_link(campaign_id)}/live"


GLOBALS: dict[str, Callable[..., str]] = {
    "campaign_link": campaign_link,
    "post_link": post_link,
    "submission_link": submission_link,
    "researcher_link": researcher_link,
    "files_link": files_link,
    "live_link": live_link,
}
"""Functions for templates."""
