"""The transcript of a life, in order and by cursor."""

from __future__ import annotations

import pytest

from aar.readmodels.transcript import read_transcript, transcript_item, whole_transcript
from aar.researcher.loop import run_researcher

from ..messages_server import Refusal, Turn, call, say
from .conftest import CAMPAIGN, House

pytestmark = pytest.mark.anyio


async def test_everything_is_there_in_order(house: House) -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    house.server.play(
        Turn([thinking, say("I look."), call(1, "budget"), call(2, "nonsense")]), Refusal(400, "odd"), Turn([say("x")])
    )
    await run_researcher(await house.context())
    with house.db.reading() as session:
        whole = list(whole_transcript(session, f"{CAMPAIGN}-r1"))
        page = read_transcript(session, f"{CAMPAIGN}-r1", before=whole[-1].id, limit=2)
    items = [transcript_item(each) for each in whole]
    assert [each.event.kind for each in whole] == [
        "message_added",
        "turn_received",
        "tool_finished",
        "tool_finished",
        "model_call_failed",
    ]
    assert [(item.who, item.is_error) for item in items] == [
        ("controller", False),
        ("researcher", False),
        ("tool", False),
        ("tool", True),
        ("controller", True),
    ]
    assert [(block.type, block.title) for block in items[1].blocks] == [
        ("thinking", ""),
        ("text", ""),
        ("tool_use", "budget"),
        ("tool_use", "nonsense"),
    ]
    assert page.items == items[2:4]
    assert page.earlier == items[2].event_id
