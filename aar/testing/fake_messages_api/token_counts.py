"""Approximate token counts of blocks, without a tokenizer and the same everywhere.

One token per four bytes of UTF-8, rounded up by block, which is near the counts of language models for English and
code; 1,600 for an image (the service's figure for the largest it does not shrink). A block's count depends on nothing
around it, so that the parts of a request add up to the whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1600
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def count_text_tokens(text: str) -> int:
    """Return the tokens of a text; at least 1."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN) or 1


def compact_json(value: Any) -> str:
    """Return a value as JSON without spaces."""
    return _ENCODER.encode(value)


def count_block_tokens(block: Mapping[str, Any]) -> int:
    """Return the tokens of a content block. Marks and signatures count nothing."""
    match block.get("type"):
        case "text":
            return count_text_tokens(block["text"])
        case "thinking":
            return count_text_tokens(block["thinking"])
        case "redacted_thinking":
            return count_text_tokens(block["data"])
        case "compaction":
            return count_text_tokens(block.get("content") or "")
        case "tool_use" | "server_tool_use":
            return count_text_tokens(block["name"]) + count_text_tokens(compact_json(block["input"]))
        case "tool_result":
            content = block.get("content") or ""
            inner = count_text_tokens(content) if isinstance(content, str) else sum(map(count_block_tokens, content))
            return 1 + inner
        case "image":
            return IMAGE_TOKENS
        case _:
            return count_text_tokens(compact_json({key: block[key] for key in block if key != "cache_control"}))
