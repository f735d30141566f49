"""Whatever the log holds, a request made of it is one that the service takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aar.events import AnyEvent, ContextReset, MessageAdded, ToolFinished, ToolStarted, TurnReceived
from aar.llm.request import MessageEncoder, encode_json
from aar.researcher.conversation import CLEARED_NOTE, Conversation

from ..messages_server import byte_tokens, call, complaint_about, say

STOPS = (
    "end_turn",
    "tool_use",
    "max_tokens",
    "refusal",
    "pause_turn",
    "model_context_window_exceeded",
    "stop_sequence",
)


@st.composite
def turns(draw: st.DrawFn) -> TurnReceived:
    number = draw(st.integers(0, 10**6))
    kinds = draw(st.lists(st.sampled_from(["text", "blank", "thinking", "call", "summary", "no summary"]), max_size=4))
    made: dict[str, Any] = {
        "text": say("é words"),
        "blank": say("  "),
        "thinking": {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        "summary": {"type": "compaction", "content": "so far"},
        "no summary": {"type": "compaction", "content": None},
    }
    content = [made.get(kind) or call(number * 10 + place, "budget") for place, kind in enumerate(kinds)]
    stop = draw(st.sampled_from(STOPS))
    prompt = draw(st.sampled_from([0, 5000]))
    return TurnReceived(
        request_id=f"q{number}",
        model="m",
        content=content,
        stop_reason=stop,
        output_tokens=40,
        usd=Decimal(0),
        prompt_tokens=prompt,
    )


NUDGE = MessageAdded(reason="nudge", content=[say("go on")])


def answers(conversation: Conversation, draw: st.DataObject) -> list[AnyEvent]:
    """Results of all pending calls in any order, with words in between."""
    events: list[AnyEvent] = []
    for pending in draw.draw(st.permutations(conversation.pending_calls)):
        events.append(ToolStarted(tool_use_id=pending.id, tool=pending.name, about=""))
        if draw.draw(st.booleans()):
            events.append(NUDGE)
        result = [say("done")]
        events.append(
            ToolFinished(tool_use_id=pending.id, tool=pending.name, content=result, is_error=False, seconds=0.0)
        )
    return events


@settings(deadline=None)
@given(story=st.lists(turns(), max_size=8), draw=st.data())
def test_any_log_makes_requests_that_the_service_takes(story: list[TurnReceived], draw: st.DataObject) -> None:
    conversation, encoder = Conversation(), MessageEncoder()
    conversation.apply(MessageAdded(reason="opening", content=[say("start")]))
    for turn in story:
        conversation.apply(turn)
        for event in answers(conversation, draw):
            conversation.apply(event)
        if not conversation.awaits_model:
            conversation.apply(NUDGE)
        if draw.draw(st.booleans()) and conversation.messages[-1]["role"] == "user":
            kept = conversation.recent_turns(draw.draw(st.integers(0, 3)), 10**6)
            conversation.apply(ContextReset(reason="r", content=[say("so far")], kept_turns=kept))
        if not conversation.awaits_model:
            continue
        messages = conversation.request_messages()
        request = {"system": [], "tools": [], "messages": messages}
        assert complaint_about(request) == ""
        assert encoder.encode(messages) == encode_json(messages)
        if conversation.prompt_tokens == 0:
            assert conversation.max_prompt_tokens(0) >= byte_tokens(request)


def test_a_reset_keeps_whole_turns() -> None:
    conversation = Conversation()
    conversation.apply(MessageAdded(reason="opening", content=[say("start")]))
    for number in range(5):
        received = {"request_id": f"q{number}", "model": "m", "stop_reason": "tool_use", "output_tokens": 1}
        conversation.apply(TurnReceived(content=[call(number, "budget")], usd=Decimal(0), prompt_tokens=9, **received))
        finished = {"tool": "budget", "is_error": False, "seconds": 0.0}
        conversation.apply(ToolFinished(tool_use_id=f"toolu_{number}", content=[say("ok")], **finished))
    tail = conversation.messages[-4:]
    conversation.apply(ContextReset(reason="r", content=[say("notes")], kept_turns=2))
    assert conversation.messages == [{"role": "user", "content": [say("notes")]}, *tail]
    assert conversation.prompt_tokens == 0


def grown(*, thinking: bool = False) -> Conversation:
    conversation = Conversation()
    conversation.apply(MessageAdded(reason="opening", content=[say("start")]))
    for number in range(3):
        thought = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}] if thinking else []
        conversation.apply(
            TurnReceived(
                request_id=f"q{number}",
                model="m",
                content=[*thought, call(number, "budget")],
                stop_reason="tool_use",
                output_tokens=1,
                usd=Decimal(0),
                prompt_tokens=9,
            )
        )
        finished = {"tool": "budget", "is_error": False, "seconds": 0.0}
        conversation.apply(ToolFinished(tool_use_id=f"toolu_{number}", content=[say("ok")], **finished))
    return conversation


def summarised(summary: str | None) -> TurnReceived:
    return TurnReceived(
        request_id="q9",
        model="m",
        content=[{"type": "compaction", "content": summary, "signature": "c2ln"}, call(9, "budget")],
        stop_reason="tool_use",
        output_tokens=1,
        usd=Decimal(0),
        prompt_tokens=5000,
    )


def test_what_the_service_summarised_is_not_sent_again() -> None:
    conversation = grown()
    conversation.apply(summarised("all of it"))
    first, second = conversation.messages
    assert first == {"role": "user", "content": [say("start")]}
    assert [block["type"] for block in second["content"]] == ["compaction", "tool_use"]
    assert conversation.prompt_tokens == 0
    assert [pending.id for pending in conversation.pending_calls] == ["toolu_9"]


def test_a_summary_that_failed_changes_nothing() -> None:
    conversation = grown()
    before = list(conversation.messages)
    conversation.apply(summarised(None))
    assert conversation.messages[: len(before)] == before
    assert conversation.prompt_tokens == 5000


def test_what_the_service_cleared_stays_cleared() -> None:
    conversation = grown()
    before = list(conversation.messages)
    turn = summarised(None).model_copy(update={"cleared_tool_uses": 2})
    conversation.apply(turn)
    results = [block for message in conversation.messages for block in message["content"] if "tool_use_id" in block]
    assert [block["content"] for block in results] == [CLEARED_NOTE, CLEARED_NOTE, [say("ok")]]
    assert before[2]["content"][0]["content"] == [say("ok")], "a message is replaced, never changed in place"


def test_reasoning_does_not_leave_the_conversation_it_was_made_in() -> None:
    conversation = grown(thinking=True)
    conversation.apply(ContextReset(reason="r", content=[say("notes")], kept_turns=2))
    kinds = [block["type"] for message in conversation.messages for block in message["content"]]
    assert kinds.count("thinking") == 1, "the last turn's, whose call is being answered"
    assert conversation.messages[-2]["content"][0]["type"] == "thinking"
    assert kinds.count("tool_use") == kinds.count("tool_result") == 2
