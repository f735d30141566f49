"""Validation of image blocks beyond their types: base64 and the declared format."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aar.messages_api.request import ContentBlock

MOST_IMAGE_BYTES = 10 * 1024 * 1024
"""Longest base64 of one image, in bytes (platform.claude.com/docs, "Vision")."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def image_errors(blocks: Sequence[ContentBlock]) -> Iterator[str]:
    """Yield errors in the images of these blocks, those inside tool results included."""
    for block in blocks:
        if block.kind == "image":
            yield from _image(block.data, block.at)
        inner = block.data.get("content") if block.kind == "tool_result" else None
        if isinstance(inner, list):
            yield from image_errors([ContentBlock(item, f"{block.at}.content.{i}") for i, item in enumerate(inner)])


def _image(data: Mapping[str, Any], at: str) -> Iterator[str]:
    source = data["source"]
    if source.get("type") != "base64":
        return
    text, media_type = str(source.get("data", "")), source.get("media_type")
    if len(text) > MOST_IMAGE_BYTES:
        yield f"{at}.image.source.base64: image exceeds {MOST_IMAGE_BYTES // 2**20} MB maximum: {len(text)} bytes"
        return
    try:
        head = binascii.a2b_base64(text, strict_mode=True)[:16]
    except ValueError:
        yield f"{at}.image.source.base64: invalid base64 data"
        return
    found = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    if found is None:
        yield f"{at}.image.source.base64.data: Could not process image"
    elif found != media_type:
        yield (
            f"{at}.image.source.base64: The image was specified using the {media_type} media type, "
            f"but the image appears to be a {found} image"
        )
