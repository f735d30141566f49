"""The inputs and the outcome of a researcher's agent loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from aar.budget.ledger import Ledger
from aar.llm.capabilities import NO_CAPABILITIES, ModelCapabilities
from aar.llm.gateway import Gateway
from aar.problems.protocol import Problem
from aar.sandbox.protocol import Sandbox
from aar.scoring.submissions import SubmissionView
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database

T = TypeVar("T")


class StartingPoint(Protocol):
    """The direction of one researcher: a short, deliberately vague text."""

    @property
    def key(self) -> str:
        """The direction's key."""
        ...

    @property
    def text(self) -> str:
        """The direction's text for the researcher."""
        ...


class SandboxSource(Protocol):
    """Supplies the researcher with sandboxes on one lasting workspace."""

    async def current(self) -> Sandbox:
        """Return the sandbox in use; a new one after ``lost``. Raises SandboxUnavailable, SandboxError."""
        ...

    async def lost(self, cause: str) -> None:
        """Mark the sandbox as lost."""
        ...


class ScoreSource(Protocol):
    """Waits for the scores of submissions."""

    async def wait_for(self, submission_number: int, timeout: float) -> SubmissionView:
        """Return the submission once it is scored or ``timeout`` seconds passed. Raises NotFound."""
        ...


async def _no_limit_near() -> str | None:
    return None


class StopRequested(Exception):
    """The campaign requests a clean pause; the next start continues the work in progress."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options of a researcher's model requests.

    Args:
        thinking: ``auto`` lets a capable model decide how much it thinks.
        effort: amount of thinking, if the model supports it; None leaves it to the service.
        cache: lifetime of prompt-cache entries; ``auto`` takes the cheaper one for the researcher's own pauses.
        context: ``auto`` lets the service summarise an old context if the model can; ``clear`` also lets it clear
            old tool results before, which retains the reasoning longer and costs more; ``local`` starts a fresh
            conversation here, as always if the service cannot summarise.
    """

    thinking: Literal["auto", "off"] = "auto"
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    cache: Literal["auto", "5m", "1h"] = "auto"
    context: Literal["auto", "clear", "local"] = "auto"


@dataclass(frozen=True, slots=True)
class FallbackModel:
    """Another model for calls that the researcher's own model cannot serve."""

    model: str
    gateway: Gateway


@dataclass(frozen=True, slots=True)
class ResearcherContext:
    """The dependencies and settings of one researcher.

    Args:
        name: as shown, such as "r1".
        model: model id.
        direction: its starting point.
        sandbox: the sandbox of its commands.
        stopping: set when the campaign requests a clean pause.
        max_output_tokens: bound of one turn, thinking included.
        capabilities: capabilities of the model beyond plain messages.
        options: of its requests.
        fallback: the model to call when its service fails; None for no fallback.
        approaching_limit: returns a text about the limit that it will soon reach; None while there is room.
        context_tokens: size at which a fresh conversation replaces the current one.
        runs_per_submission: scoring runs of each submission, counted against the quotas.
        parallel_runs: scoring runs at the same time, for the expected wait.
        command_seconds, job_seconds: longest time of a foreground command and of a background job.
        resting: ids of researchers that wait for their service, because that time does not count as work.
        patience: failed model calls in a row, and turns without progress in a row, before it gives up.
    """

    campaign_id: str
    researcher_id: str
    name: str
    model: str
    direction: StartingPoint
    problem: Problem
    db: Database
    ledger: Ledger
    gateway: Gateway
    sandbox: SandboxSource
    snapshots: SnapshotStore
    scorer: ScoreSource
    stopping: asyncio.Event
    max_output_tokens: int = 8192
    capabilities: ModelCapabilities = NO_CAPABILITIES
    options: ModelOptions = ModelOptions()
    fallback: FallbackModel | None = None
    approaching_limit: Callable[[], Awaitable[str | None]] = _no_limit_near
    context_tokens: int = 90_000
    runs_per_submission: int = 0
    parallel_runs: int = 1
    command_seconds: float = 300.0
    job_seconds: float = 3600.0
    patience: int = 8
    resting: set[str] = field(default_factory=set)

    async def unless_stopping(self, work: Awaitable[T]) -> T:
        """Return the result of ``work``, or cancel it if the campaign requests a pause.

        Raises StopRequested.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise StopRequested
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def pause(self, seconds: float) -> None:
        """Sleep. Raises StopRequested."""
        await self.unless_stopping(asyncio.sleep(seconds))


@dataclass(frozen=True, slots=True)
class ResearcherOutcome:
    """The reason for the end of a researcher's loop, with one line of detail.

    ``away`` means a model service or a sandbox engine that may come back.
    """

    reason: Literal["finished", "paused", "limit", "away", "failed"]
    detail: str
