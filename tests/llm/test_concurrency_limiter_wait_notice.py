"""What people are told of a model call that waits for its service."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from aar.llm.concurrency_limiter import WaitNotice, is_waiting, waiting_line
from aar.llm.gateway import Gateway

from ..messages_server import Refusal, Turn, say
from ..researcher.conftest import KEY, House
from .test_gateway import request

pytestmark = pytest.mark.anyio


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.waits: list[tuple[int, float]] = []

    async def __call__(self, tries: int, seconds: float) -> None:
        self.waits.append((tries, round(seconds)))


def test_lines_for_people() -> None:
    assert waiting_line(3, 8.2) == "waiting for the service: try 3, next in 8 s"
    assert waiting_line(0, 30) == "waiting for the service: next in 30 s"
    assert waiting_line(1, 7200).startswith("waiting for the service: try 1, next at 20")
    assert [is_waiting(waiting_line(3, seconds)) for seconds in (8, 0)] == [True, False]


async def test_a_wait_is_told_once_and_anew_where_it_grows() -> None:
    held, now, told = [0.0], [100.0], Told()
    notice = WaitNotice(told, lambda: held[0], lambda: now[0])
    await notice.begins(0)
    await notice.begins(1, 1.0)  # part of any call
    await notice.ends(1)
    assert told.waits == []
    await notice.begins(1, 8.0)
    now[0], held[0] = 104.0, 4.0
    await notice.begins(1)
    assert told.waits == [(1, 8)]
    held[0] = 3600.0  # another call was told to come back later
    await notice.begins(1)
    await notice.ends(1)
    await notice.ends(2)
    assert told.waits == [(1, 8), (1, 3600), (1, 0)]


async def test_a_call_tells_of_its_own_pause_and_of_one_that_others_met(house: House) -> None:
    house.server.play(Refusal(429, headers={"retry-after": "2"}), Turn([say("a")]), Turn([say("b")]))
    gateway, first, second = Gateway(house.server.url, SecretStr(KEY)), Told(), Told()
    try:
        await gateway.complete(request(), waiting=first)
        gateway.limiter.pause(2)
        await gateway.complete(request(), waiting=second)
    finally:
        await gateway.close()
    assert first.waits == [(1, 2), (1, 0)]
    assert second.waits == [(0, 2), (0, 0)]
