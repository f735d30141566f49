"""A campaign's time limit: hours of running, without pauses."""

from __future__ import annotations

import math
import time
from decimal import Decimal

from sqlalchemy.orm import Session

from aar.campaign.running_time import read_running_time
from aar.events import LimitHit
from aar.store.event_log import append_event


class RunTimer:
    """Counts the hours that controllers have run a campaign.

    Args:
        before: seconds run by former controllers.
        limit_hours: hours it may run in all; None for no limit.
    """

    def __init__(self, before: float, limit_hours: float | None) -> None:
        self._before = before
        self.limit_hours = limit_hours
        self._limit = None if limit_hours is None else limit_hours * 3600
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds run so far."""
        return self._before + time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Return the remaining seconds; infinite without a limit."""
        return math.inf if self._limit is None else self._limit - self.seconds

    def change_limit(self, hours: float | None) -> None:
        """Change the limit."""
        self.limit_hours = hours
        self._limit = None if hours is None else hours * 3600

    def expired(self) -> bool:
        """Return whether the time is up."""
        return self._limit is not None and self.seconds >= self._limit

    def log_time_limit(self, session: Session, campaign_id: str) -> str:
        """Log that the time is up; return the line for people."""
        limit = Decimal(self._limit or 0) / 3600
        spent = Decimal(round(self.seconds)) / 3600
        append_event(
            session,
            campaign_id,
            LimitHit(
                scope="campaign",
                limit="hours",
                ceiling=round(limit, 4),
                committed=round(spent, 4),
                asked=Decimal(0),
            ),
        )
        return f"limit hours = {limit:.4g} reached"


def read_seconds_run(session: Session, campaign_id: str) -> float:
    """Return the seconds that earlier controllers ran a campaign, from the log.

    A killed controller logged no end; its time counts until the last event before the next start.
    """
    return read_running_time(session, campaign_id).total * 60
