"""One scoring run: prepares the split, runs the method, scores its output.

A run is retried when its sandbox is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import CapacityLimiter

from aar.errors import REMEDY, DiskFull, PluginFailed, SandboxError, SandboxUnavailable, is_disk_full
from aar.problems.plugin_calls import call_plugin
from aar.problems.protocol import OutputRejected, Problem, Task, TaskScore
from aar.problems.statistics import is_finite
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom, RunOutcome
from aar.scoring.cleanroom.run_meter import Stopwatch
from aar.scoring.verdict_messages import (
    RunFailure,
    output_rejected_message,
    output_ungraded_message,
    output_unreadable_message,
    sandbox_lost_message,
)

log = structlog.get_logger(__name__)

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_DISK_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ScoringRunResult:
    """The result of one scoring run.

    Args:
        score: the parts that the problem measured; None when the run failed.
        failure, verdict: why it failed, for the researcher; None and empty when scored.
        output_digest: SHA-256 of the output file; None without one.
        seconds: wall-clock seconds of the method itself, of all attempts where sandboxes were lost under it.
        fault: the error in the problem's own code, for people; empty if there was none.
    """

    score: TaskScore | None
    failure: RunFailure | None
    verdict: str
    output_digest: str | None
    seconds: float
    fault: str = ""


async def run_with_retries(
    problem: Problem,
    clean_room: CleanRoom,
    task: Task,
    source: str | Path,
    seed: int,
    *,
    owner: str = DEFAULT_OWNER,
    slot: AbstractAsyncContextManager[object] | None = None,
    limiter: CapacityLimiter | None = None,
    watch: Stopwatch | None = None,
    again: Callable[[], Awaitable[None]] | None = None,
) -> ScoringRunResult:
    """Run a method on a prepared task and score its output, with retries.

    Args:
        slot: held while the method runs, to bound how many run at once.
        limiter: bounds the calls that score.
        watch: times the method itself.
        again: awaited before another attempt, after a sandbox was lost.

    Raises:
        SandboxUnavailable, SandboxError: sandboxes do not work here, with or without this method.
        DiskFull: the disk stayed full for ten minutes.
        DataMissing: from the problem.
    """
    attempt = partial(clean_room.run, task, source, seed, owner=owner, slot=slot)
    outcome = await _execute(clean_room, owner, attempt, watch or Stopwatch(), again)
    if outcome.output is None:
        return ScoringRunResult(None, outcome.failure, outcome.verdict, None, outcome.seconds)
    hosts = (clean_room.work_dir, task.public.parent)
    score, fault = None, ""
    try:
        found: TaskScore = await call_plugin(problem, "score", task, outcome.output, limiter=limiter)
        bad = next((name for name, part in found.parts.items() if not is_finite(part)), None)
        if bad is None:
            score, told = found, None
        else:
            # The output or the plug-in may be at fault; in both cases only this output has no score.
            told, fault = (
                output_rejected_message(f"its {bad} is not a finite number", hosts),
                f"{bad} is no finite number",
            )
    except OutputRejected as rejection:
        told = output_rejected_message(str(rejection), hosts)
    except PluginFailed as error:
        # The plug-in read a file that an adversary wrote, so any error is about that file. The error's text
        # is neither shown nor logged, because it may quote the labels.
        told, fault = (
            output_unreadable_message() if error.cause == "raised" else output_ungraded_message(),
            error.message,
        )
    finally:
        outcome.discard()
    failure, verdict = told or (None, "")
    return ScoringRunResult(score, failure, verdict, outcome.output_digest, outcome.seconds, fault)


async def _wait_for_room(folder: Path) -> None:
    """Wait until a disk has room again. Raises DiskFull after ten minutes."""
    with anyio.move_on_after(_DISK_PATIENCE_SECONDS):
        while is_disk_full(folder):  # noqa: ASYNC110 - nothing announces room
            await anyio.sleep(_PAUSE_SECONDS)
        return
    raise DiskFull(f"the disk is full: cannot write {folder}", REMEDY)


async def _execute(
    clean_room: CleanRoom,
    owner: str,
    run: Callable[..., Awaitable[RunOutcome]],
    watch: Stopwatch,
    again: Callable[[], Awaitable[None]] | None,
) -> RunOutcome:
    for attempt in range(_ATTEMPTS):
        if attempt and again is not None:
            await again()
        try:
            # A backend that is away has nothing to do with the method, and costs it no attempt.
            outcome = await clean_room.outages.run_when_up(partial(run, watch=watch))
        except (SandboxError, SandboxUnavailable) as error:
            log.warning("a scoring sandbox was lost; trying again", attempt=attempt + 1, error=str(error))
            await anyio.sleep(_PAUSE_SECONDS * 2**attempt)
            continue
        # What the method itself wrote is gone by now, so a disk that is still full is not its fault.
        blameless = outcome.failure is not None and is_disk_full(clean_room.work_dir)
        if not blameless or attempt == _ATTEMPTS - 1:
            return outcome
        log.warning("a scoring run failed on a full disk; trying again", attempt=attempt + 1)
        await _wait_for_room(clean_room.work_dir)
    # A sandbox without the method shows if the machine or the method is at fault.
    await clean_room.outages.run_when_up(partial(clean_room.probe, owner=owner))
    failure, verdict = sandbox_lost_message(_ATTEMPTS)
    return RunOutcome(False, failure, verdict, None, None, watch.total)
