"""Which failure decides over what: a service that died is told of and started again, and few errors end a campaign."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from aar.campaign.controller import service_restarts
from aar.campaign.controller.service_restarts import FaultBuffer, RestartBackoff, retry_write, run_with_restarts
from aar.errors import AarError, DatabaseError, ProblemError, SandboxUnavailable, is_transient
from aar.processes import DescriptorReserve, raise_open_file_limit

SCARCE = OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_restarts, "_SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(service_restarts, "_LONGEST_PAUSE", 0.002)


def _dying(*errors: Exception) -> tuple[Callable[[], Awaitable[None]], list[int]]:
    """A service that dies of these errors, one after the other, and then ends in good order."""
    begun: list[int] = []

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) <= len(errors):
            raise errors[len(begun) - 1]

    return work, begun


@pytest.mark.parametrize("error", [SCARCE, DatabaseError("locked"), SandboxUnavailable("the engine is away")])
def test_what_may_pass_is_waited_for(error: Exception) -> None:
    work, begun = _dying(*[error] * 7)
    faults = FaultBuffer()
    asyncio.run(run_with_restarts("scorer", work, faults, needed=True))
    assert len(begun) == 8
    told = faults.drain()
    assert len(told) == 7
    assert {each.service for each in told} == {"scorer"}
    assert "started again" in told[0].then


def test_a_lasting_cause_decides_over_a_campaign_that_needs_the_service() -> None:
    work, begun = _dying(ProblemError("it broke its contract"))
    faults = FaultBuffer()
    with pytest.raises(ProblemError):
        asyncio.run(run_with_restarts("scorer", work, faults, needed=True))
    assert len(begun) == 1
    assert [(each.error, each.then) for each in faults.drain()] == [("it broke its contract", "given up")]


def test_what_nobody_foresaw_is_tried_a_few_times() -> None:
    work, begun = _dying(*[KeyError("x")] * 50)
    with pytest.raises(KeyError):
        asyncio.run(run_with_restarts("scorer", work, FaultBuffer(), needed=True))
    assert len(begun) == 4


@pytest.mark.parametrize("error", [ProblemError("x"), KeyError("x"), SCARCE, BrokenPipeError()])
def test_what_a_campaign_can_be_without_decides_over_nothing(error: Exception) -> None:
    work, begun = _dying(*[error] * 40)
    asyncio.run(run_with_restarts("forum mirror", work, FaultBuffer(), needed=False))
    assert len(begun) == 41
    work, begun = _dying(*[error] * 40)
    faults = FaultBuffer()
    asyncio.run(run_with_restarts("live view", work, faults, needed=False, tries=5))
    assert len(begun) == 6
    assert faults.drain()[-1].then == "given up"


def test_patience_ends_and_begins_anew_once_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(service_restarts.time, "monotonic", lambda: clock[0])
    patience = RestartBackoff(10)
    clock[0] = 1.0
    assert patience.next_delay(SCARCE, foreseen=True) is not None
    clock[0] = 12.0
    assert patience.next_delay(SCARCE, foreseen=True) is None
    patience.reset()
    assert patience.next_delay(SCARCE, foreseen=True) is not None


def test_an_ending_is_written_down_once_it_can_be() -> None:
    work, begun = _dying(DatabaseError("locked"), SCARCE)
    asyncio.run(retry_write("ending", work, FaultBuffer(), seconds=30))
    assert len(begun) == 3
    work, begun = _dying(AarError("no"))
    with pytest.raises(AarError):
        asyncio.run(retry_write("ending", work, FaultBuffer(), seconds=30))
    assert len(begun) == 1


def test_errors_that_pass_by_themselves() -> None:
    assert is_transient(SCARCE)
    assert is_transient(DatabaseError("locked"))
    assert not is_transient(NotADirectoryError(errno.ENOTDIR, "x"))
    assert not is_transient(ProblemError("x"))


def test_a_log_of_faults_is_bounded_and_its_lines_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_restarts, "_MOST_FAULTS", 3)
    faults = FaultBuffer()
    for number in range(10):
        faults.add_fault("mirror", RuntimeError(f"{number} " + "x\n" * 5000), "tried again")
    told = faults.drain()
    assert [each.error[:15] for each in told] == [f"RuntimeError: {number}" for number in (7, 8, 9)]
    assert all(len(each.error) <= 500 and "\n" not in each.error for each in told)
    assert faults.drain() == []


def test_what_goes_on_failing_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(service_restarts.time, "monotonic", lambda: clock[0])
    faults = FaultBuffer()
    faults.add_fault("mirror", RuntimeError("x"), "tried again")
    for _ in range(250):  # ten minutes and more
        clock[0] += 2.5
        faults.add_fault("heartbeat", DatabaseError("disk full"), "tried again", every=60)
    told = [(each.service, each.error) for each in faults.drain()]  # type: ignore[union-attr]
    assert told[0] == ("mirror", "RuntimeError: x")  # not crowded out by what repeats
    assert told[1:] == [("heartbeat", "disk full. Free some space, then run `aar resume`")] * 11


def test_descriptors_kept_back_are_there_when_none_is_left() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve, taken = DescriptorReserve(8), []
    reserve.refill()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, before[1]))  # noqa: PTH208
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        reserve.release()
        os.close(os.open(os.devnull, os.O_RDONLY))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for each in taken:
            os.close(each)
        reserve.release()


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert raise_open_file_limit() == min(hard, 65536)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
