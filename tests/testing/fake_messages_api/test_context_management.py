"""Context editing and compaction through the SDK's beta client."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import BadRequestError, types

from aar.testing.fake_messages_api import MessagesRequest, ModelReply, thinking_block, tool_use_block

from .conftest import Talking

pytestmark = pytest.mark.anyio

MODEL = "claude-sonnet-4-6"
EDITING = ["context-management-2025-06-27"]
COMPACTION = ["compact-2026-01-12"]
TOOLS: list[Any] = [{"name": "bash", "input_schema": {"type": "object"}}]
HELLO: Any = {"role": "user", "content": "Hello"}


def worked(rounds: int, *, thought: str = "") -> list[Any]:
    """A conversation with tool calls whose results are 100 tokens each."""
    messages = [HELLO]
    for number in range(rounds):
        use = {"type": "tool_use", "id": f"t{number}", "name": "bash", "input": {"n": number}}
        messages.append({"role": "assistant", "content": [use]})
        messages.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{number}", "content": "r" * 400}]}
        )
    return messages


async def test_old_tool_results_are_cleared(talking: Talking) -> None:
    seen: list[MessagesRequest] = []

    def play(request: MessagesRequest) -> str:
        seen.append(request)
        return "ok"

    edit: Any = {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 4}}
    edit |= {"keep": {"type": "tool_uses", "value": 2}, "clear_tool_inputs": True}
    asked: dict[str, Any] = {"model": MODEL, "tools": TOOLS, "betas": EDITING, "context_management": {"edits": [edit]}}
    async with talking(play) as (client, _):
        few = await client.beta.messages.create(max_tokens=9, messages=worked(4), **asked)
        many = await client.beta.messages.create(max_tokens=9, messages=worked(6), **asked)
        counted = await client.beta.messages.count_tokens(messages=worked(6), **asked)
        async with client.beta.messages.stream(max_tokens=9, messages=worked(6), **asked) as stream:
            streamed = await stream.get_final_message()
    assert few.context_management is not None
    assert few.context_management.applied_edits == []
    assert many.context_management is not None
    (applied,) = many.context_management.applied_edits
    assert applied.type == "clear_tool_uses_20250919"
    assert applied.cleared_tool_uses == 4
    assert counted.context_management is not None
    original = counted.context_management.original_input_tokens
    assert original - counted.input_tokens == applied.cleared_input_tokens
    assert counted.input_tokens == many.usage.input_tokens
    assert streamed.context_management == many.context_management
    contents = [block.data["content"] for block in seen[1].blocks() if block.kind == "tool_result"]
    assert contents == ["[Old tool result content cleared]"] * 4 + ["r" * 400] * 2
    assert [block.data["input"] for block in seen[1].blocks() if block.kind == "tool_use"][3:] == [
        {},
        {"n": 4},
        {"n": 5},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"clear_at_least": {"type": "input_tokens", "value": 10_000}},
        {"exclude_tools": ["bash"]},
        {"trigger": {"type": "input_tokens", "value": 1000}},
    ],
)
async def test_what_keeps_tool_results(talking: Talking, change: dict[str, Any]) -> None:
    edit: Any = {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 4}, **change}
    async with talking(["ok"]) as (client, _):
        message = await client.beta.messages.create(
            model=MODEL,
            max_tokens=9,
            tools=TOOLS,
            betas=EDITING,
            messages=worked(6),
            context_management={"edits": [edit]},
        )
    assert message.context_management is not None
    assert message.context_management.applied_edits == []


@pytest.mark.parametrize("model", [MODEL, "claude-haiku-4-5"])
async def test_old_thinking_is_cleared(talking: Talking, model: str) -> None:
    kept: list[int] = []

    def play(request: MessagesRequest) -> ModelReply:
        kept.append(sum(block.kind == "thinking" for block in request.blocks()))
        return ModelReply([thinking_block("t" * 400), "ok"])

    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    asked: dict[str, Any] = {"model": model, "max_tokens": 2000, "thinking": thinking}
    messages: list[Any] = [HELLO]
    async with talking(play) as (client, _):
        for _ in range(3):
            message = await client.messages.create(messages=messages, **asked)
            messages += [message.to_param(), HELLO]
        keep: Any = {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}}
        edited = await client.beta.messages.create(
            messages=messages, betas=EDITING, context_management={"edits": [keep]}, **asked
        )
    # Older models drop the thinking of earlier turns by themselves.
    assert kept[:3] == ([0, 1, 2] if model == MODEL else [0, 0, 0])
    assert kept[3] == 1
    assert edited.context_management is not None
    (applied,) = edited.context_management.applied_edits
    assert applied.type == "clear_thinking_20251015"
    assert (applied.cleared_thinking_turns, applied.cleared_input_tokens) == (2, 200)


LONG: list[Any] = [{"role": "user", "content": "x" * 200_000}]


def compacting(**more: Any) -> dict[str, Any]:
    edit: Any = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}, **more}
    return {"model": MODEL, "max_tokens": 99, "betas": COMPACTION, "context_management": {"edits": [edit]}}


class Writer:
    """A model that writes summaries."""

    def __init__(self) -> None:
        self.seen: list[MessagesRequest] = []

    def reply(self, request: MessagesRequest) -> ModelReply:
        self.seen.append(request)
        return ModelReply(["Going on."])

    def summary(self, request: MessagesRequest) -> str:
        return f"It was about {request.messages[0].blocks[0].data['text'][:3]}."


async def test_a_long_conversation_is_compacted(talking: Talking) -> None:
    writer = Writer()
    async with talking(writer) as (client, _):
        async with client.beta.messages.stream(messages=LONG, **compacting()) as stream:
            first = await stream.get_final_message()
        messages = [*LONG, first.to_param(), HELLO]
        second = await client.beta.messages.create(messages=messages, **compacting())
        changed = [{**first.content[0].model_dump(exclude_none=True), "content": "It was not."}]
        with pytest.raises(BadRequestError, match="cannot be modified"):
            await client.beta.messages.create(
                messages=[*LONG, {"role": "assistant", "content": changed}, HELLO],  # type: ignore[typeddict-item]
                **compacting(),
            )
    summary, text = first.content
    assert summary.type == "compaction"
    assert summary.content == "It was about xxx."
    assert text.type == "text"
    assert [row.type for row in first.usage.iterations or []] == ["compaction", "message"]
    (spent, own) = first.usage.iterations or []
    assert spent.input_tokens == 50_000
    assert own.input_tokens == first.usage.input_tokens == 5
    assert [row.type for row in second.usage.iterations or []] == ["message"]
    assert second.usage.input_tokens < 20
    assert [block.kind for block in writer.seen[1].blocks()] == ["compaction", "text", "text"]


async def test_a_pause_after_compaction(talking: Talking) -> None:
    async with talking(Writer()) as (client, _):
        message = await client.beta.messages.create(messages=LONG, **compacting(pause_after_compaction=True))
        assert message.stop_reason == "compaction"
        assert [block.type for block in message.content] == ["compaction"]
        assert [row.type for row in message.usage.iterations or []] == ["compaction"]
        assert message.usage.input_tokens == 0
        # From then on the summary alone opens the conversation.
        messages = [message.to_param(), HELLO]
        assert (await client.beta.messages.create(messages=messages, **compacting())).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("edits", "betas", "complaint"),
    [
        ([{"type": "compact_20260112"}], EDITING, "not available without the beta header"),
        ([{"type": "clear_tool_uses_20250919"}], ["files-api-2025-04-14"], "Extra inputs are not permitted"),
        ([{"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 9}}], COMPACTION, "50000"),
        ([{"type": "compact_20260112", "trigger": {"type": "tool_uses", "value": 9}}], COMPACTION, "input_tokens"),
        ([{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}], EDITING, "must be the first"),
        ([{"type": "clear_everything"}], EDITING, "context_management.edits.0: Input tag"),
    ],
)
async def test_edits_that_do_not_hold(talking: Talking, edits: list[Any], betas: list[str], complaint: str) -> None:
    async with talking(["never"]) as (client, _):
        with pytest.raises(BadRequestError, match=complaint):
            await client.beta.messages.create(
                model=MODEL, max_tokens=9, messages=[HELLO], betas=betas, context_management={"edits": edits}
            )


async def test_a_call_of_the_model_after_editing(talking: Talking) -> None:
    """The model answers the edited conversation, and its calls pair with the client's own."""
    edit: Any = {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 1}}
    asked: dict[str, Any] = {"model": MODEL, "tools": TOOLS, "betas": EDITING, "context_management": {"edits": [edit]}}
    async with talking([ModelReply([tool_use_block("bash")]), "done"]) as (client, _):
        message = await client.beta.messages.create(max_tokens=99, messages=worked(6), **asked)
        use = message.content[0]
        result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": "x"}  # type: ignore[union-attr]
        messages = [*worked(6), message.to_param(), {"role": "user", "content": [result]}]
        assert (await client.beta.messages.create(max_tokens=99, messages=messages, **asked)).stop_reason == "end_turn"


ON_DEMAND: dict[str, Any] = {"model": MODEL, "max_tokens": 99, "betas": ["compact-2026-09-04"]}
SUMMARIZE: Any = {"type": "summarize"}


async def test_a_summary_on_demand(talking: Talking) -> None:
    writer = Writer()
    messages: list[Any] = [HELLO, {"role": "assistant", "content": "Hi."}]
    async with talking(writer) as (client, _):
        async with client.beta.messages.stream(messages=messages, compaction=SUMMARIZE, **ON_DEMAND) as stream:
            first = await stream.get_final_message()
        assert first.stop_reason == "compaction"
        assert [row.type for row in first.usage.iterations or []] == ["compaction"]
        (block,) = first.content
        assert block.type == "compaction"
        assert block.content == "It was about Hel."
        kept: dict[str, Any] = block.model_dump(exclude_none=True)
        ours: Any = {"role": "assistant", "content": [kept]}
        second = await client.beta.messages.create(messages=[ours, HELLO], **ON_DEMAND)
        assert second.stop_reason == "end_turn"
        assert [block.kind for block in writer.seen[0].blocks()] == ["compaction", "text"]

        async def refused(error: type[BadRequestError], *sent: Any, **more: Any) -> None:
            with pytest.raises(error):
                await client.beta.messages.create(messages=list(sent), **ON_DEMAND, **more)

        def changed(**fields: Any) -> Any:
            return {"role": "assistant", "content": [{**kept, **fields}]}

        await refused(types.CompactionContentMismatchError, changed(content="Else."), HELLO)
        await refused(types.CompactionSignatureInvalidError, changed(signature="ab.cd"), HELLO)
        await refused(types.CompactionBlockMisplacedError, HELLO, ours, HELLO)
        await refused(types.CompactionBlockAmbiguousError, ours, HELLO, ours, HELLO)
        await refused(types.CompactionNothingToSummarizeError, ours, compaction=SUMMARIZE)
        use: Any = {"type": "tool_use", "id": "t", "name": "bash", "input": {}}
        cut: Any = {"role": "assistant", "content": [use]}
        await refused(types.CompactionIncompleteTurnError, HELLO, cut, compaction=SUMMARIZE)


async def test_a_summary_needs_its_beta(talking: Talking) -> None:
    async with talking(["never"]) as (client, _):
        with pytest.raises(BadRequestError, match="compaction: Extra inputs"):
            await client.beta.messages.create(
                model=MODEL, max_tokens=9, messages=[HELLO], compaction=SUMMARIZE, betas=COMPACTION
            )
