"""Atomic replacement of files: a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

DRAFT_SUFFIX = ".draft-"
"""Prefix of incomplete files."""


def write_atomically(path: Path, content: bytes) -> bool:
    """Write a world-readable file in one step, unless its content is the same.

    Returns True if it was written.
    """
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass  # a new one
    descriptor, draft = tempfile.mkstemp(prefix=DRAFT_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return True
