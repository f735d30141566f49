"""Upper bounds of a request's tokens, computed without the service.

Every token of a byte-level tokenizer covers at least one byte, so the UTF-8 bytes of a request bound its tokens.
Constants bound the markup that the service adds around blocks, and its instructions for tools. Once a turn is complete,
its own count is exact for everything up to it, and bytes bound only later additions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

FIXED_TOKENS = 4096
"""More than the service adds for tool use itself and for Anthropic's own tool types."""
BLOCK_TOKENS = 48
"""More than the markup around one block or message."""
IMAGE_TOKENS = 6000
"""More than the largest image costs after the service scaled it down."""


def token_upper_bound(parts: Iterable[Mapping[str, Any]]) -> int:
    """Return an upper bound of the tokens of messages, blocks or tool definitions."""
    return sum(_bound(part) for part in parts)


def _bound(part: Mapping[str, Any]) -> int:
    content = part.get("content")
    if isinstance(content, list):
        rest = {key: value for key, value in part.items() if key != "content"}
        return _bound(rest) + token_upper_bound(content)
    if part.get("type") == "image":
        return IMAGE_TOKENS
    return len(json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass")) + BLOCK_TOKENS
