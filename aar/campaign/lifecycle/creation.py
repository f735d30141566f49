"""Creates a campaign: writes its row and its team in one transaction."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy.orm import Session

from aar.campaign.preflight import CampaignPlan
from aar.events import CampaignCreated
from aar.problems.protocol import version_of
from aar.store.event_log import append_event
from aar.store.models import Campaign, Researcher

_ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH = 6


def create_campaign(session: Session, plan: CampaignPlan) -> str:
    """Create a campaign in state ``created`` with its researchers; return its id."""
    campaign_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    seed = plan.spec.seed
    session.add(
        Campaign(
            id=campaign_id,
            name=plan.spec.name,
            problem=plan.spec.problem,
            problem_version=version_of(plan.problem),
            spec=plan.spec.model_dump(mode="json"),
            state="created",
            secret=secrets.token_hex(32) if seed is None else hashlib.sha256(f"seed {seed}".encode()).hexdigest(),
            sandbox=plan.backend.name,
        )
    )
    session.flush()
    for index, (direction, model) in enumerate(zip(plan.directions, plan.models.models, strict=True), start=1):
        session.add(
            Researcher(
                id=f"{campaign_id}-r{index}",
                campaign_id=campaign_id,
                name=f"r{index}",
                index=index,
                direction_key=direction.key,
                direction=direction.text,
                family=direction.family,
                model=model,
                state="created",
            )
        )
    session.flush()
    append_event(
        session, campaign_id, CampaignCreated(problem=plan.problem.name, researchers=plan.spec.researchers.count)
    )
    return campaign_id
