"""What a researcher's loop is given, and what it gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.capabilities import NO_CAPABILITIES, ModelCapabilities
from aar.llm.gateway import Gateway
from aar.problems.protocol import Problem
from aar.sandbox.protocol import Sandbox
from aar.scoring.submissions.submit import SubmissionView
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database

T = TypeVar("T")


class StartingPoint(Protocol):
    """A direction: the short, deliberately vague text that one researcher starts from."""

    @property
    def key(self) -> str:
        """Its name."""
        ...

    @property
    def text(self) -> str:
        """As the researcher reads it."""
        ...


class SandboxSource(Protocol):
    """Keeps the researcher supplied with a sandbox on one lasting workspace."""

    async def current(self) -> Sandbox:
        """The sandbox in use, made anew after ``lost``. Raises SandboxUnavailable, SandboxError."""
        ...

    async def lost(self, cause: str) -> None:
        """Note that the sandbox is gone."""
        ...


class ScoreSource(Protocol):
    """Tells when a submission is scored."""

    async def wait_for(self, submission_number: int, timeout: float) -> SubmissionView:
        """The submission once its scoring is over or ``timeout`` seconds passed. Raises NotFound."""
        ...


async def _distant_time() -> str | None:
    return None


def _nobody_counts(_: bool) -> None:
    return


class StopRequested(Exception):
    """The campaign asks for a clean pause; what was under way is taken up again at the next start."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is asked.

    Args:
        thinking: ``auto`` lets a model that can think as much as it sees fit.
        effort: how much of it, where the model can be told; None leaves it to the service.
        cache: lifetime of prompt-cache entries; ``auto`` takes what the researcher's own pauses make cheaper.
        context: ``auto`` lets the service summarise an old context where the model can; ``clear`` also lets it clear
            old tool results before, which keeps the reasoning longer and costs more; ``local`` hands the conversation
            over here, as is done wherever the service cannot.
    """

    thinking: Literal["auto", "off"] = "auto"
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    cache: Literal["auto", "5m", "1h"] = "auto"
    context: Literal["auto", "clear", "local"] = "auto"


@dataclass(frozen=True, slots=True)
class FallbackModel:
    """Another model for a call that the researcher's own cannot take."""

    model: str
    gateway: Gateway


@dataclass(frozen=True, slots=True)
class ResearcherContext:
    """Everything one researcher works with.

    Args:
        name: as shown, such as "r1".
        model: model id.
        direction: where it starts from.
        sandbox: where its commands run.
        stopping: set when the campaign asks for a clean pause.
        limits: as in the spec, for the prompt; the ledger holds them.
        max_output_tokens: bound of one turn, thinking included.
        abilities: what the model can do beyond plain messages.
        options: how it is asked.
        fallback: whom to ask when its service fails; None asks nobody.
        nearing: tells which limit it will soon meet, in words for it; None while there is room.
        context_tokens: when a conversation passes this size it is handed over to a fresh one.
        runs_per_submission: scoring runs that each of its submissions takes, counted against the quotas.
        parallel_runs: scoring runs that go at the same time, for the expected wait.
        command_seconds, job_seconds: longest time of a foreground command and of a background job.
        resting: told when it begins and ends to wait for its service, which is no time at work.
        patience: model calls that may fail in a row, and turns that may achieve nothing in a row, before it gives up.
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
    limits: Limits
    max_output_tokens: int = 8192
    capabilities: ModelCapabilities = NO_CAPABILITIES
    options: ModelOptions = ModelOptions()
    fallback: FallbackModel | None = None
    approaching_limit: Callable[[], Awaitable[str | None]] = _distant_time
    context_tokens: int = 90_000
    runs_per_submission: int = 0
    parallel_runs: int = 1
    command_seconds: float = 300.0
    job_seconds: float = 3600.0
    patience: int = 8
    resting: Callable[[bool], None] = _nobody_counts

    async def unless_stopping(self, work: Awaitable[T]) -> T:
        """The result of ``work``, which is cancelled when the campaign asks for a pause meanwhile. Raises Stopping."""
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
        """Sleep. Raises Stopping."""
        await self.unless_stopping(asyncio.sleep(seconds))


@dataclass(frozen=True, slots=True)
class ResearcherOutcome:
    """Why a researcher's loop ended, and one line of detail; ``away`` is a model service or a sandbox engine that may
    come back."""

    reason: Literal["finished", "paused", "limit", "away", "failed"]
    detail: str
