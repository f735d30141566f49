"""The transcript of a life, in order and by cursor."""

from __future__ import annotations

import pytest

from aar.researcher import run_researcher
from aar.researcher.transcript import transcript

from .conftest import CAMPAIGN, House
from .messages_server import Refusal, Turn, call, say

pytestmark = pytest.mark.anyio


async def test_everything_is_there_in_order(house: House) -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    house.server.play(
        Turn([thinking, say("I look."), call(1, "budget"), call(2, "nonsense")]), Refusal(400, "odd"), Turn([say("x")])
    )
    await run_researcher(await house.context())
    with house.db.reading() as session:
        entries = transcript(session, CAMPAIGN, f"{CAMPAIGN}-r1")
        rest = transcript(session, CAMPAIGN, f"{CAMPAIGN}-r1", after=entries[0].event_id, limit=1)
    assert [(entry.speaker, entry.kind, entry.title) for entry in entries] == [
        ("house", "text", "opening"),
        ("researcher", "thinking", ""),
        ("researcher", "text", "tool_use"),
        ("researcher", "call", "budget"),
        ("researcher", "call", "nonsense"),
        ("tool", "result", "budget"),
        ("tool", "result", "nonsense"),
        ("house", "failure", "model call failed"),
    ]
    assert [entry.is_error for entry in entries[5:]] == [False, True, True]
    assert [entry.usd is not None for entry in entries] == [False, True] + [False] * 6
    assert entries[3].tool_use_id == entries[5].tool_use_id == "toolu_1"
    assert rest == entries[1:5]
