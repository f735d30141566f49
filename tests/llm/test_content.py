"""Blocks of replies that nobody foresaw can go back to the service."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest

from aar.llm.content import INVALID_INPUT, RESENDABLE_TYPES, resendable_block
from aar.llm.request import encode_json

ODD_BLOCKS: list[tuple[dict[str, Any], str]] = [
    ({"type": "reasoning_v9", "words": "hm"}, "text"),
    ({"type": None}, "text"),
    ({"type": "text", "text": None}, "text"),
    ({"type": "text", "text": "\ud83d\ude00 \ud83d"}, "text"),
    ({"type": "thinking", "thinking": 5}, "thinking"),
    ({"type": "tool_use", "id": "t", "name": "a b\n", "input": {"n": float("nan")}}, "tool_use"),
    ({"type": "tool_use", "id": 5, "name": "x" * 500, "input": [1]}, "tool_use"),
    ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"n": float("inf")}}, "text"),
]


@pytest.mark.parametrize(("block", "kind"), ODD_BLOCKS)
def test_every_block_is_taken_in_as_one_that_can_go_back(block: dict[str, Any], kind: str) -> None:
    sound = resendable_block(block)
    json.loads(encode_json([sound]), parse_constant=lambda name: pytest.fail(name))
    assert sound["type"] == kind
    assert not re.search("[\ud800-\udfff]", json.dumps(sound, ensure_ascii=False))
    if kind == "tool_use":
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sound["name"])
        assert list(sound["input"]) == [INVALID_INPUT]
    elif kind == "text":
        assert isinstance(sound["text"], str)


def test_what_the_sdk_knows_of_replies_goes_back_as_it_came() -> None:
    from anthropic.types.beta import BetaContentBlock

    known = {get_args(each.model_fields["type"].annotation)[0] for each in get_args(get_args(BetaContentBlock)[0])}
    assert known <= RESENDABLE_TYPES
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"new": None}], "later": 1}
    assert resendable_block(block) == block
