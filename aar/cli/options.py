"""Options and arguments that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

LATEST = "latest"
MAX_INTEGER = 2**63 - 1
"""Of numbers that a database compares."""
MOST_ROWS = 1_000_000


def _campaign_ids(incomplete: str) -> list[tuple[str, str]]:
    """For shell completion: ids that exist, with their names."""
    from aar.campaign.views import list_campaigns
    from aar.cli.context import open_context
    from aar.errors import AarError

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
        help="Campaign: an id, its beginning, or `latest`.",
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
        help="Campaign: an id, its beginning, or `latest`.",
        show_default=False,
        autocompletion=_campaign_ids,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="Database; default AAR_DATABASE, or SQLite under AAR_HOME."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
