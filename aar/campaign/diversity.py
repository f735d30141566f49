"""How different the team's ideas are: Shannon entropy over idea families, in bits.

The public study measured idea collapse so, over the families of the active researchers' ideas. A researcher counts
with the first family of its newest submission, before that with its direction's family. One from outside was dealt no
direction, so it counts from its first submission on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from aar.campaign.outside import EXTERNAL
from aar.events import DiversityMeasured
from aar.store.event_log import append
from aar.store.models import EventRecord, Researcher, Submission


def shannon_bits(families: Iterable[str]) -> float:
    """Entropy of the families' frequencies in bits: 0 when all are the same, log2(n) when all n differ."""
    counts = Counter(families)
    total = counts.total()
    return sum(-count / total * math.log2(count / total) for count in counts.values()) + 0.0


def current_families(session: Session, campaign_id: str) -> list[str]:
    """The family that each researcher of the campaign stands for now."""
    newest = (
        select(Submission.researcher_id, func.max(Submission.id).label("id"))
        .where(Submission.campaign_id == campaign_id)
        .group_by(Submission.researcher_id)
        .subquery()
    )
    rows = session.execute(
        select(Researcher.family, Submission.families)
        .outerjoin(newest, newest.c.researcher_id == Researcher.id)
        .outerjoin(Submission, Submission.id == newest.c.id)
        .where(Researcher.campaign_id == campaign_id)
        .where(or_(Researcher.model != EXTERNAL, Submission.id.is_not(None)))
    )
    return [families[0] if families else family for family, families in rows]


def record_diversity(session: Session, campaign_id: str) -> float:
    """Measure the team's diversity now and log it if it changed since the last measurement; returns bits."""
    families = current_families(session, campaign_id)
    bits = round(shannon_bits(families), 4)
    last = session.scalar(
        select(EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "diversity_measured")
        .order_by(EventRecord.id.desc())
        .limit(1)
    )
    if last is None or last["bits"] != bits:
        append(session, campaign_id, DiversityMeasured(bits=bits, families=len(set(families))))
    return bits
