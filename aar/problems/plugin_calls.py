"""Bounded, checked calls of a problem's own code, in a process that can be killed.

A problem that was found by its name or folder is made once in each worker process and stays there with the data that it
has read. One that exists in this process alone, such as a test's, is called in a thread, which can be left but not
stopped.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from aar.errors import BoundExceeded, DataMissing, PluginFailed, ProblemError
from aar.problems.protocol import (
    Estimate,
    OutputRejected,
    Problem,
    Stage,
    Task,
    TaskScore,
    call_limits_of,
    corrupt_labels,
)
from aar.problems.registry import ProblemOrigin, find_problem, locate_error, origin_of, small_problem
from aar.problems.statistics import check_estimate, is_finite
from aar.text import make_storable
from aar.workers.worker_pool import WorkerPool, run_in_worker, run_in_worker_sync

_SLOW = {"check_data": 10, "validate": 10}
"""Factors of the time limit for slow calls."""
GIVES: Mapping[str, type | tuple[type, ...]] = {
    "directions": (str, Path),
    "lab": (str, Path),
    "sandbox_packages": Sequence,
    "baselines": Sequence,
}
"""Methods about a problem's own folder, with their result types; each is called once before it is relied on."""
_ANSWERS: Mapping[str, type] = {"prepare": Task, "score": TaskScore, "pool": Estimate, "brief": str}
_LISTS = ("sandbox_packages", "baselines")
_MOST_DETAIL = 300
_MOST_LEVELS = 4
"""Levels of estimates within estimates."""
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT})
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|DATABASE|AUTH", re.IGNORECASE)
_REMEDY = "Check it with: aar problem validate"
_briefs: dict[ProblemOrigin, str] = {}


def _environment() -> dict[str, str]:
    """Return the environment of worker processes, without keys and passwords.

    A problem may read the location of its data.
    """
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}


PROCESSES = WorkerPool(max(2, min(8, os.cpu_count() or 2)), _environment)
"""Worker processes for problems, separate from those that read submitted code.

A problem that hangs holds none of the latter up."""


async def call_plugin(
    problem: Problem,
    method: str,
    *args: Any,
    limiter: CapacityLimiter | None = None,
    pool: WorkerPool = PROCESSES,
) -> Any:
    """Call a problem's method off the event loop. Cancellation stops the call.

    Args:
        method: of the protocol; ``corrupt`` also stands for a change of coordinates.
        args: pickled, like the result.
        limiter: bounds how many calls run at once.
        pool: the worker pool that serves it.

    Raises:
        PluginFailed: it raised, hung, ended its process or returned an invalid result.
        DataMissing, OutputRejected: raised by the problem itself.
        OSError: a resource of this machine is exhausted, such as disk space.
    """
    if limiter is not None:
        async with limiter:
            return await call_plugin(problem, method, *args, pool=pool)
    origin, seconds, memory = origin_of(problem), _seconds(problem, method), call_limits_of(problem).memory_bytes
    try:
        if origin is not None:
            return await run_in_worker(_answer, origin, method, args, seconds=seconds, memory=memory, pool=pool)
        with anyio.fail_after(seconds):
            return await anyio.to_thread.run_sync(partial(_guarded, problem, method, args), abandon_on_cancel=True)
    except TimeoutError:
        raise _overrun(problem.name, method, "time", seconds, memory) from None
    except BoundExceeded as error:
        raise _overrun(problem.name, method, error.cause, seconds, memory) from None


def call_plugin_sync(problem: Problem, method: str, *args: Any) -> Any:
    """Call a problem's method from code that is not async: see ``call_plugin``. Blocks."""
    origin, seconds, memory = origin_of(problem), _seconds(problem, method), call_limits_of(problem).memory_bytes
    if origin is None:
        return _guarded(problem, method, args)
    try:
        return run_in_worker_sync(_answer, origin, method, args, seconds=seconds, memory=memory, pool=PROCESSES)
    except BoundExceeded as error:
        raise _overrun(problem.name, method, error.cause, seconds, memory) from None


async def pool_scores(problem: Problem, scores: Any, *, limiter: CapacityLimiter | None = None) -> Estimate:
    """Return the problem's pooled estimate, checked.

    Raises:
        ProblemError: it has none, or one that is not finite.
    """
    return check_estimate(await call_plugin(problem, "pool", list(scores), limiter=limiter))


def read_brief(problem: Problem) -> str:
    """Return a problem's brief, read once.

    Raises:
        ProblemError: there is none, or an empty one.
    """
    origin = origin_of(problem)
    if origin is None:
        return _checked_brief(problem)
    if origin not in _briefs:
        _briefs[origin] = _checked_brief(problem)
    return _briefs[origin]


async def probe_problem(reference: str, *, seconds: float = 120.0) -> None:
    """Load a problem in a separate process.

    One that hangs or exits during loading does no harm.

    Raises:
        NotFound, ProblemError: as ``find_problem`` does; ProblemError too where loading does not end.
    """
    try:
        await run_in_worker(_load, reference, seconds=seconds, memory=4 * 1024**3, pool=PROCESSES)
    except BoundExceeded as error:
        how = {"time": f"took longer than {seconds:g} s", "memory": "took more than 4 GiB of memory"}
        raise ProblemError(
            f"problem {reference} cannot be loaded: importing it {how.get(error.cause, 'ended its process')}",
            "Remove slow code and exits from the top level of the module",
        ) from None


def _checked_brief(problem: Problem) -> str:
    text: str = call_plugin_sync(problem, "brief")
    if not text.strip():
        raise ProblemError(f"the brief of problem {problem.name} is empty", "Write the text for researchers")
    return text


def _seconds(problem: Problem, method: str) -> float:
    return call_limits_of(problem).seconds * _SLOW.get(method, 1)


def _overrun(name: str, method: str, cause: str, seconds: float, memory: int) -> PluginFailed:
    reason = {
        "time": f"took longer than {seconds:g} s",
        "memory": f"took more than {memory / 1024**2:.0f} MiB of memory",
    }.get(cause, "ended its process")
    return PluginFailed(f"problem {name}: {method} {reason}", _REMEDY, cause=cause)


# The following code runs in the worker process.


def _load(reference: str) -> None:
    _make_once.cache_clear()
    _make_once(ProblemOrigin(reference))


@lru_cache(maxsize=4)
def _make_once(origin: ProblemOrigin) -> Problem:
    found = find_problem(origin.reference)
    return small_problem(found) if origin.small else found


def _answer(origin: ProblemOrigin, method: str, args: tuple[Any, ...]) -> Any:
    return _guarded(_make_once(origin), method, args)


def _guarded(problem: Problem, method: str, args: tuple[Any, ...]) -> Any:
    """Call and check.

    Exceptions raised here can be pickled and quote no hidden data.
    """
    call: Callable[..., Any] = partial(corrupt_labels, problem) if method == "corrupt" else getattr(problem, method)
    try:
        answer = call(*args)
        return tuple(_text(each) for each in answer) if method == "validate" else _plain(problem, method, answer)
    except OutputRejected as rejection:
        # It may quote a method's output, which may contain bytes that cannot be stored as text.
        raise OutputRejected(_text(rejection)) from None
    except DataMissing as error:
        raise DataMissing(make_storable(error.message), make_storable(error.remedy)) from None
    except PluginFailed as error:
        raise PluginFailed(_text(error.message), _text(error.remedy), _text(error.detail), cause=error.cause) from None
    except ProblemError as error:
        at = locate_error(error, problem)
        message = make_storable(f"problem {problem.name}: {error.message}")
        raise PluginFailed(message + _at(at), make_storable(error.remedy)) from None
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plug-in raises is about that call
        if isinstance(error, OSError) and error.errno in _SCARCE:
            raise OSError(error.errno, error.strerror) from None
        kind, detail = type(error).__name__, " ".join(_text(error)[:_MOST_DETAIL].split())
        message = f"problem {problem.name}: {method} raised {kind}{_at(locate_error(error, problem))}"
        raise PluginFailed(message, _REMEDY, detail) from None


def _plain(problem: Problem, method: str, answer: Any) -> Any:
    """Return the result if it has the type that the protocol promises."""
    if method in GIVES:
        if not isinstance(answer, GIVES[method]) or (isinstance(answer, str) and method in _LISTS):
            raise _unexpected(problem, method, answer, "list" if method in _LISTS else "Path")
        return None
    wanted = _ANSWERS.get(method)
    if wanted is None:
        return None
    if not isinstance(answer, wanted):
        raise _unexpected(problem, method, answer, wanted.__name__)
    if isinstance(answer, TaskScore):
        if not isinstance(answer.parts, Mapping):
            raise _unexpected(problem, method, answer.parts, "mapping of parts")
        return TaskScore({_text(name): _number(part) for name, part in answer.parts.items()})
    if isinstance(answer, Estimate):
        return _numbers(problem, answer, levels=_MOST_LEVELS)
    if isinstance(answer, Task):
        stage, seed = Stage(answer.stage), int(answer.split_seed)
        return Task(_text(answer.domain), stage, seed, Path(answer.public), Path(answer.hidden))
    return _text(answer)


def _numbers(problem: Problem, found: object, *, levels: int) -> Estimate:
    """Return a pooled estimate of plain floats, its domains included."""
    if not isinstance(found, Estimate) or levels == 0:
        wanted = "Estimate" if levels else f"part at most {_MOST_LEVELS} levels deep"
        raise _unexpected(problem, "pool", found, wanted)
    if not isinstance(found.by_domain, Mapping):
        raise _unexpected(problem, "pool", found.by_domain, "mapping of domains")
    return Estimate(
        **{name: _number(getattr(found, name)) for name in ("mean", "standard_error", "low", "high")},
        tasks=int(found.tasks),
        by_domain={_text(name): _numbers(problem, part, levels=levels - 1) for name, part in found.by_domain.items()},
        freedom=None if found.freedom is None else _number(found.freedom),
    )


def _number(value: object) -> float:
    """Convert any kind of number to a plain float: databases do not store numpy's.

    Other values become NaN.
    """
    if is_finite(value):
        return float(value)  # type: ignore[arg-type]
    return float(value) if isinstance(value, float) else math.nan


def _text(value: object) -> str:
    """Return the value as storable text, even if its ``str`` fails."""
    try:
        said = str(value)
    except Exception:  # noqa: BLE001 - of an error's own making
        said = f"a {type(value).__name__} without words"
    return make_storable(said)


def _unexpected(problem: Problem, method: str, answer: object, wanted: str) -> PluginFailed:
    got, article = type(answer).__name__, "an" if wanted[0] in "AEIOU" else "a"
    message = f"problem {problem.name}: {method} returned a {got}, expected {article} {wanted}"
    return PluginFailed(message, _REMEDY, cause="answer")


def _at(place: str) -> str:
    return f" ({place})" if place else ""
