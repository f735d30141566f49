"""The argument and the option that name a campaign, with shell completion."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.campaign.views import list_campaigns
from aar.cli.context import open_context
from aar.errors import AarError

LATEST = "latest"


def _campaign_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return existing campaign ids with their names, for shell completion."""
    try:
        with open_context(None) as workplace, workplace.database.reading() as session:
            views = list_campaigns(session, limit=30)
    except AarError:
        return []
    return [
        (view.id, f"{'no controller' if view.controller == 'lost' else view.state}, {view.name}")
        for view in views
        if view.id.startswith(incomplete)
    ]


CampaignId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Campaign: an id, the beginning of one, or `latest`.",
        show_default=False,
        autocompletion=_campaign_ids,
    ),
]
CampaignOption = Annotated[
    str,
    typer.Option(
        "--campaign",
        "-c",
        metavar="ID",
        help="Campaign: an id, the beginning of one, or `latest`.",
        show_default=False,
        autocompletion=_campaign_ids,
    ),
]
