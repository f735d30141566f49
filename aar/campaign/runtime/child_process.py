"""Processes that a controller starts for itself: they end with it, also where it is killed and can tell nobody."""

from __future__ import annotations

import os
import threading
from typing import IO


def exit_with_parent(pipe: IO[bytes]) -> None:
    """End this process at once when the other end of a pipe closes, which the parent holds as long as it lives."""
    threading.Thread(target=_wait, args=(pipe.fileno(),), name="end with parent", daemon=True).start()


def _wait(descriptor: int) -> None:
    while os.read(descriptor, 65536):  # not by the pipe's buffer, whose lock a thread may not hold as Python ends
        pass
    os._exit(1)
