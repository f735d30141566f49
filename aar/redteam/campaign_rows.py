"""Inserts the rows that a service needs first: a campaign and its researchers."""

from __future__ import annotations

from sqlalchemy.orm import Session

from aar.store.models import Campaign, Researcher


def add_campaign(
    session: Session, campaign_id: str = "k3v9qd", researchers: int = 3, *, problem_version: int = 1
) -> list[str]:
    """Add a created campaign with researchers ``r1``, ``r2`` and so on; returns their ids."""
    session.add(
        Campaign(
            id=campaign_id,
            name=campaign_id,
            problem="weak_to_strong",
            problem_version=problem_version,
            spec={},
            state="created",
            secret="0" * 64,
        )
    )
    session.flush()
    ids = [f"{campaign_id}-r{index}" for index in range(1, researchers + 1)]
    for index, researcher_id in enumerate(ids, start=1):
        session.add(
            Researcher(
                id=researcher_id,
                campaign_id=campaign_id,
                name=f"r{index}",
                index=index,
                direction_key=f"direction-{index}",
                direction="look at the representations",
                model="offline-search",
                state="created",
            )
        )
    session.flush()
    return ids
