"""Token figures of a request and its answer: an estimate, since no tokenizer is involved.

One token per four bytes of UTF-8 JSON, which is near what language models count for English and code. The prompt
cache is simulated without memory: a conversation that continues has sent everything before its last assistant turn
in an earlier request, so that part counts as read from the cache, and the rest up to the last cache breakpoint as
written to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aar.researcher.offline.wire import CacheControl, CountRequest

BYTES_PER_TOKEN = 4


def estimate(value: Any) -> int:
    """Tokens of a JSON-like value; at least 1."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return max(1, -(-len(text.encode()) // BYTES_PER_TOKEN))


def _fixed_tokens(request: CountRequest) -> int:
    system = estimate(request.system_text()) if request.system_text() else 0
    return system + sum(estimate(tool.model_dump(mode="json")) for tool in request.tools)


def _message_tokens(request: CountRequest) -> list[int]:
    return [
        sum(estimate(block.model_dump(mode="json", exclude={"cache_control"})) for block in message.content)
        for message in request.messages
    ]


def input_tokens(request: CountRequest) -> int:
    """Tokens of the system prompt, the tools and the messages together."""
    return _fixed_tokens(request) + sum(_message_tokens(request))


def usage_of(request: CountRequest, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The ``usage`` object of an answer: input split into fresh, cache-written and cache-read, and output."""
    fixed, messages = _fixed_tokens(request), _message_tokens(request)
    total = fixed + sum(messages)
    cached_up_to, control = _breakpoint(request, fixed, messages)
    turns = [index for index, message in enumerate(request.messages) if message.role == "assistant"]
    sent_before = fixed + sum(messages[: turns[-1]]) if turns else 0
    read = min(sent_before, cached_up_to)
    written = cached_up_to - read
    hour = control is not None and control.ttl == "1h"
    return {
        "input_tokens": total - cached_up_to,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if hour else written,
            "ephemeral_1h_input_tokens": written if hour else 0,
        },
        "output_tokens": sum(estimate(block) for block in content) or 1,
        "service_tier": "standard",
    }


def _breakpoint(request: CountRequest, fixed: int, messages: Sequence[int]) -> tuple[int, CacheControl | None]:
    """How many tokens lie before the last cache breakpoint (whole messages), and what it asks for."""
    if request.cache_control is not None:
        return fixed + sum(messages), request.cache_control
    for index in range(len(messages) - 1, -1, -1):
        for block in request.messages[index].content:
            if block.cache_control is not None:
                return fixed + sum(messages[: index + 1]), block.cache_control
    controls = [tool.cache_control for tool in request.tools]
    controls += [block.cache_control for block in request.system]
    asked = next((control for control in controls if control is not None), None)
    return (fixed if asked else 0), asked
