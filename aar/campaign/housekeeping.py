"""Removing the sandboxes that dead controllers of other campaigns left behind."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.campaign.custody import is_run
from aar.sandbox.protocol import SandboxBackend
from aar.store.database import Database
from aar.store.models import Campaign


async def remove_orphans(backend: SandboxBackend, database: Database, campaign_id: str) -> list[str]:
    """Remove sandboxes of campaigns that this database holds and that nobody runs; returns their names.

    Those of ``campaign_id`` stay, to be taken up again, and so do those of campaigns that another database may hold.
    """
    names = await backend.orphans()
    if not names:
        return []
    abandoned = await database.read(lambda session: _abandoned(session, campaign_id))
    removed = []
    for abandoned_id in abandoned:
        if any(name.startswith(abandoned_id) for name in names):
            for name in await backend.orphans(abandoned_id):
                await backend.remove(name)
                removed.append(name)
    return removed


def _abandoned(session: Session, campaign_id: str) -> list[str]:
    campaigns = session.scalars(select(Campaign).where(Campaign.id != campaign_id))
    return [campaign.id for campaign in campaigns if not is_run(campaign)]
