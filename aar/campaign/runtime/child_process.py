"""Child processes of a controller: they end with it, even if it is killed."""

from __future__ import annotations

import os
import threading
from typing import IO


def exit_with_parent(pipe: IO[bytes]) -> None:
    """End this process at once when the parent's end of a pipe closes."""
    threading.Thread(target=_wait, args=(pipe.fileno(),), name="end with parent", daemon=True).start()


def _wait(descriptor: int) -> None:
    while os.read(descriptor, 65536):  # not by the pipe's buffer, whose lock a thread may not hold as Python ends
        pass
    os._exit(1)
