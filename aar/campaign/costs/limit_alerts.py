"""Alerts when limits are used up to a threshold.

Each researcher gets a notice near the end.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.budget.limit_checks import CAMPAIGN, LimitUsage
from aar.campaign.costs.forecast import forecast_budget
from aar.campaign.run_timer import RunTimer
from aar.events import LimitNear
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import EventRecord

ALERT_PERCENTS = (50, 80, 95)
"""Percentages of a limit at which an alert is logged, once each."""
SOFT_LANDING_SHARE = Decimal("0.9")
"""Share of a limit at which researchers are asked to write up."""
_LANDING_SECONDS = 90.0
"""Seconds reserved for writing up in a short campaign, where a tenth of its hours would be less."""
_RATES = frozenset({"usd_per_agent_hour"})
"""Limits that free themselves; researchers wait for them instead of writing up."""


class LimitMonitor:
    """Checks the limits of one campaign.

    Args:
        ledger: of the campaign.
        clock: its wall clock.
    """

    def __init__(self, db: Database, campaign_id: str, ledger: Ledger, clock: RunTimer) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._ledger = ledger
        self._clock = clock
        self._told: set[tuple[str, int]] | None = None

    async def check(self) -> None:
        """Log each newly passed threshold of a campaign limit, once per campaign."""
        if self._told is None:
            self._told = await self._db.read(lambda session: _logged_alerts(session, self._campaign_id))
        for standing in await self._limit_usages(None):
            percent = _percent(standing)
            passed = [
                alert for alert in ALERT_PERCENTS if percent >= alert and (standing.limit, alert) not in self._told
            ]
            if passed:
                self._told |= {(standing.limit, alert) for alert in passed}
                await self._db.write(partial(self._log_alert, standing=standing, percent=passed[-1]))

    async def approaching_limit(self, researcher_id: str) -> str | None:
        """Return a text about the limit that a researcher will soon reach.

        It is None if there is room.
        """
        near = [
            standing
            for standing in await self._limit_usages(researcher_id)
            if standing.limit not in _RATES and _needs_soft_landing(standing)
        ]
        return "; ".join(_describe_limit(standing) for standing in near) or None

    async def _limit_usages(self, researcher_id: str | None) -> list[LimitUsage]:
        found = await self._ledger.limit_usages(researcher_id)
        if self._clock.limit_hours is not None:
            found.append(
                LimitUsage(
                    CAMPAIGN, "hours", Decimal(str(self._clock.limit_hours)), Decimal(str(self._clock.seconds / 3600))
                )
            )
        return found

    def _log_alert(self, session: Session, standing: LimitUsage, percent: int) -> None:
        ahead = forecast_budget(session, self._campaign_id, self._ledger.limits)
        near = LimitNear(
            limit=standing.limit,
            percent=percent,
            ceiling=standing.ceiling,
            committed=round(standing.committed, 6),
            hours_left=None if ahead.hours_left is None else round(ahead.hours_left, 2),
        )
        append_event(session, self._campaign_id, near)


def _logged_alerts(session: Session, campaign_id: str) -> set[tuple[str, int]]:
    payloads = session.scalars(
        select(EventRecord.payload).where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "limit_near")
    )
    return {
        (payload["limit"], alert) for payload in payloads for alert in ALERT_PERCENTS if alert <= payload["percent"]
    }


def _percent(standing: LimitUsage) -> Decimal:
    return 100 * standing.committed / standing.ceiling if standing.ceiling else Decimal(100)


def _needs_soft_landing(standing: LimitUsage) -> bool:
    if standing.limit == "hours":
        kept = max(
            (1 - SOFT_LANDING_SHARE) * standing.ceiling,
            min(Decimal(str(_LANDING_SECONDS / 3600)), standing.ceiling / 4),
        )
        return standing.left <= kept
    return _percent(standing) >= 100 * SOFT_LANDING_SHARE


def _describe_limit(standing: LimitUsage) -> str:
    if standing.limit == "hours":
        return f"{float(standing.left) * 60:.0f} minutes of the campaign are left"
    whose = "of the campaign" if standing.scope == CAMPAIGN else "of yours"
    return f"{_percent(standing):.0f} % of the limit {standing.limit} {whose} is spent or reserved"
