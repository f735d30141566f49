"""Model calls with missing or implausible usage figures."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import UsageDoubted
from aar.store.models import EventRecord
from aar.text.sanitize import clean_line


@dataclass(frozen=True, slots=True)
class UsageDoubt:
    """A doubt about reported usage; such calls are charged at their worst case.

    Args:
        cause: one line, free of control characters.
        researchers: names of the researchers whose calls it concerns.
    """

    cause: str
    researchers: tuple[str, ...]


def list_usage_doubts(session: Session, campaign_id: str) -> list[UsageDoubt]:
    """Lists doubts about a campaign's bill, in order of their first occurrence."""
    rows = session.execute(
        select(EventRecord.researcher_id, EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "usage_doubted")
        .order_by(EventRecord.id)
    )
    found: dict[str, dict[str, None]] = {}
    for researcher_id, payload in rows:
        cause = clean_line(UsageDoubted.model_validate(payload).cause)
        name = (researcher_id or "").rpartition("-")[2]
        found.setdefault(cause, {}).update({name: None} if name else {})
    return [UsageDoubt(cause, tuple(names)) for cause, names in found.items()]
