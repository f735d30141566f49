"""Images for models: turns an image file into a tool result's image block."""

from __future__ import annotations

import base64
import posixpath
from typing import Any

from aar.errors import TransferRefused, UsageError
from aar.forum.figures.image_formats import media_type_of
from aar.sandbox.protocol import Sandbox

MAX_IMAGE_BYTES = 1024 * 1024
"""The service accepts more, but each image is sent again with every later turn."""
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})


def is_image(path: str) -> bool:
    """Return whether a path's name has an image suffix that models read."""
    return posixpath.splitext(path)[1].lower() in _SUFFIXES


async def image_block(sandbox: Sandbox, path: str) -> dict[str, Any]:
    """Return the image block of a file.

    Raises:
        UsageError: too large, or not an image of a kind that models read.
        FileNotFoundError, IsADirectoryError, PermissionError: as from ``Sandbox.read``.
    """
    try:
        data = await sandbox.read(path, limit=MAX_IMAGE_BYTES)
    except TransferRefused as error:
        raise UsageError(
            f"{path} is too large: expected at most {MAX_IMAGE_BYTES // 1024} KiB",
            "Save it smaller, with a lower dpi",
        ) from error
    kind = media_type_of(data)
    if kind is None:
        raise UsageError(f"{path} is not a PNG, JPEG, GIF or WebP image", "Save the figure again")
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode("ascii")}
    return {"type": "image", "source": source}
