"""Thinking that is sent back after the conversation before it was changed."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import BadRequestError

from aar.testing.fake_messages_api import MessagesRequest, ModelReply, thinking_block, tool_use_block

from .conftest import Talking

pytestmark = pytest.mark.anyio

TOOLS: list[Any] = [{"name": "bash", "input_schema": {"type": "object"}}]
HELLO: Any = {"role": "user", "content": "Hello"}
BOUND = "different conversation"


def play(request: MessagesRequest) -> ModelReply:
    return ModelReply(
        [
            thinking_block(f"turn {request.turns}"),
            "I look.",
            thinking_block("and then"),
            tool_use_block("bash", command="ls"),
        ]
    )


async def talked(client: Any, model: str) -> list[Any]:
    """Two turns with thinking, results in between."""
    messages = [HELLO]
    for _ in range(2):
        turn = await client.beta.messages.create(**asked(model, messages))
        result = {"type": "tool_result", "tool_use_id": turn.content[-1].id, "content": "x" * 50}
        content = [block.model_dump(exclude_none=True) for block in turn.content]
        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    return messages


def asked(model: str, messages: list[Any], **more: Any) -> dict[str, Any]:
    thinking = {"thinking": {"type": "adaptive"}}
    return {"model": model, "max_tokens": 999, "tools": TOOLS, "messages": messages, "system": "s", **thinking, **more}


async def test_history_that_only_grows_is_taken(talking: Talking) -> None:
    async with talking(play) as (client, _):
        messages = await talked(client, "claude-opus-5-5")
        mark = {"cache_control": {"type": "ephemeral"}}
        first = {"role": "user", "content": [{"type": "text", "text": "Hello", **mark}]}
        grown = [first, *messages[1:], {"role": "user", "content": "Go on."}]
        assert (await client.beta.messages.create(**asked("claude-opus-5-5", grown))).stop_reason == "tool_use"


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-opus-4-8"])
async def test_changed_history_is_refused_on_models_that_bind(talking: Talking, model: str) -> None:
    async with talking(play) as (client, _):
        messages = await talked(client, model)
        shorter = [{**messages[2], "content": [{**messages[2]["content"][0], "content": "cut"}]}]
        changes: list[dict[str, Any]] = [
            asked(model, [{"role": "user", "content": "Goodbye"}, *messages[1:]]),
            asked(model, [*messages[:2], *shorter, *messages[3:]]),
            asked(model, messages, system="another"),
            asked(model, messages, tools=[*TOOLS, {**TOOLS[0], "name": "look"}]),
        ]
        for change in changes:
            if model == "claude-opus-4-8":
                await client.beta.messages.create(**change)
                continue
            with pytest.raises(BadRequestError, match=BOUND):
                await client.beta.messages.create(**change)


async def test_blocks_that_do_not_belong_are_dropped_if_asked(talking: Talking) -> None:
    model = "claude-sonnet-5-5"
    drop: Any = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    async with talking(play) as (client, _):
        messages = await talked(client, model)
        shorter = {**messages[2], "content": [{**messages[2]["content"][0], "content": "cut"}]}
        changed = [*messages[:2], shorter, *messages[3:]]
        with pytest.raises(BadRequestError, match="Extra inputs"):
            await client.beta.messages.create(**asked(model, changed, thinking=drop))
        betas = ["thinking-binding-controls-2026-08-01"]
        message = await client.beta.messages.create(**asked(model, changed, thinking=drop, betas=betas))
        assert message.input_transformations is not None
        paths = [entry.path for entry in message.input_transformations]
        assert paths == ["messages.3.content.0", "messages.3.content.2"]
