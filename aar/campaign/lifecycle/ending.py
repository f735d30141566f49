"""A campaign's ending, and the signal that requests it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aar.researcher.context import ResearcherOutcome


@dataclass(frozen=True, slots=True)
class CampaignEnding:
    """The state in which a controller leaves a campaign, and its cause.

    The state is ``paused``, ``finished`` or ``failed``.
    """

    state: str
    cause: str


class StopSignal:
    """Requests the end of everything in a campaign, and stores which ending.

    ``event`` is set once the researchers are to end. ``hurry`` is set once even the scoring of their submissions is to
    wait for the next run.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.hurry = asyncio.Event()
        self.ending: CampaignEnding | None = None

    def pause(self, cause: str) -> None:
        """End after the turns in progress, so that the campaign can be resumed.

        The first cause stays.
        """
        if self.ending is None or self.ending.state == "finished":
            self.ending = CampaignEnding("paused", cause)
        self.event.set()
        self.hurry.set()

    def finish(self, cause: str) -> None:
        """End for good after the turns in progress and the scoring of submissions.

        A pause stays a pause.
        """
        if self.ending is None:
            self.ending = CampaignEnding("finished", cause)
        self.event.set()


def ending_of_outcomes(outcomes: Sequence[ResearcherOutcome]) -> CampaignEnding:
    """Return the ending of a campaign whose researchers all stopped by themselves."""
    failed = [outcome for outcome in outcomes if outcome.reason == "failed"]
    if failed and len(failed) == len(outcomes):
        return CampaignEnding("failed", f"every researcher failed: {failed[0].detail}")
    away = [outcome for outcome in outcomes if outcome.reason == "away"]
    if away:
        return CampaignEnding("paused", away[0].detail)
    limited = [outcome for outcome in outcomes if outcome.reason == "limit"]
    if limited:
        return CampaignEnding("paused", limited[0].detail)
    if failed:
        return CampaignEnding(
            "finished", f"the team is done; {len(failed)} of {len(outcomes)} failed: {failed[0].detail}"
        )
    return CampaignEnding("finished", "every researcher finished")
