"""Whose the sandboxes of this machine's `aar` home are: the inventory beside the database."""

from __future__ import annotations

from collections.abc import Sequence

from aar.campaign.control import HEARTBEAT_DEAD
from aar.campaign.views import CampaignView, list_campaigns
from aar.cli.opening import opened
from aar.sandbox import inventory
from aar.sandbox.inventory_row import SandboxRow
from aar.store.types import now

_CAMPAIGNS = 10_000


def alive(database: str | None) -> dict[str, bool]:
    """Every campaign that the database holds, and whether its controller is alive. Raises DatabaseError."""
    with opened(database) as workplace, workplace.database.reading() as session:
        return {view.id: _is_run(view) for view in list_campaigns(session, limit=_CAMPAIGNS)}


async def prune(database: str | None, *, unknown_too: bool) -> list[str]:
    """Remove what no live controller uses; returns the names.

    Args:
        database: where campaigns are looked up; None for the default one.
        unknown_too: also those of campaigns that this database does not hold; another one may.
    """
    campaigns = alive(database)
    keep = {campaign_id for campaign_id, lives in campaigns.items() if lives}
    if not unknown_too:
        keep |= {row.campaign_id for row in await inventory.list_sandboxes()} - campaigns.keys()
    return await inventory.prune(keep)


def by_name(rows: Sequence[SandboxRow]) -> list[SandboxRow]:
    """Rows in the order of their names, with numbers by their value."""
    return sorted(rows, key=lambda row: [(len(part), part) for part in row.name.split("-")])


def _is_run(view: CampaignView) -> bool:
    beat = view.heartbeat_at
    return view.state == "running" and beat is not None and now() - beat < HEARTBEAT_DEAD
