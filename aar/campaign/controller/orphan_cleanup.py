"""Removes orphans: sandboxes and scoring folders that dead controllers left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.campaign.controller_lock import is_controller_alive
from aar.sandbox import inventory
from aar.sandbox.incidents import Incident, IncidentKind, IncidentSink
from aar.sandbox.inventory import SweepResult, remove_abandoned_sandboxes
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.cleanroom import run_sandbox
from aar.settings import Settings
from aar.store.database import Database
from aar.store.models import Campaign

SCORING_FOLDER = "scoring"
"""The folder of a campaign's clean room, within the campaign's folder."""


def controlled_campaigns(session: Session) -> Mapping[str, bool]:
    """Return every campaign in the database, and whether a live controller holds it."""
    return {campaign.id: is_controller_alive(campaign) for campaign in session.scalars(select(Campaign))}


async def remove_orphan_sandboxes(
    backend: SandboxBackend, database: Database, campaign_id: str, on_incident: IncidentSink | None = None
) -> list[str]:
    """Remove orphaned sandboxes of campaigns in this database; return their names.

    Those of ``campaign_id`` stay, to be recovered, and so do those of campaigns that another database may hold. A
    failed removal is an incident of ``campaign_id``, and blocks nothing.
    """

    async def abandoned(owner: str) -> bool:
        return owner != campaign_id and await _is_campaign_controlled(database, owner) is False

    return _report_incidents(await remove_abandoned_sandboxes([backend], abandoned), campaign_id, on_incident)


async def remove_campaign_sandboxes(
    backend: SandboxBackend, campaign_id: str, on_incident: IncidentSink | None = None
) -> list[str]:
    """Remove a campaign's remaining sandboxes once its work has ended.

    Such as one that was never recovered.
    """

    async def own(owner: str) -> bool:
        return owner == campaign_id

    return _report_incidents(await remove_abandoned_sandboxes([backend], own), campaign_id, on_incident)


async def prune_sandboxes(database: Database, settings: Settings, *, unknown_too: bool) -> SweepResult:
    """Remove every sandbox and every scoring folder that no live controller uses.

    Args:
        unknown_too: also sandboxes of campaigns that this database does not hold; another one may.
    """

    async def abandoned(owner: str) -> bool:
        run = await _is_campaign_controlled(database, owner)
        return unknown_too if run is None else not run

    swept = await inventory.prune(abandoned)
    # A sandbox that may still run retains its folders, even if its backend does not answer now.
    known = await asyncio.to_thread(inventory.campaigns_with_sandboxes)
    for campaign_id, run in (await database.read(controlled_campaigns)).items():
        scoring = settings.campaign_dir(campaign_id) / SCORING_FOLDER
        if run or campaign_id in known or not scoring.is_dir() or await _is_campaign_controlled(database, campaign_id):
            continue
        for name, error in (await asyncio.to_thread(run_sandbox.remove_leftover_runs, scoring)).items():
            swept.left.setdefault(name, str(error))
    return swept


async def _is_campaign_controlled(database: Database, campaign_id: str) -> bool | None:
    """Return whether a live controller holds a campaign.

    It is None if the database does not hold it.
    """

    def read(session: Session) -> bool | None:
        campaign = session.get(Campaign, campaign_id)
        return None if campaign is None else is_controller_alive(campaign)

    return await database.read(read)


def _report_incidents(swept: SweepResult, campaign_id: str, on_incident: IncidentSink | None) -> list[str]:
    for name, why in swept.left.items():
        if on_incident is not None:
            on_incident(Incident(name, campaign_id, IncidentKind.LEFT_BEHIND, why[:300]))
    return swept.removed
