"""One life of a workspace in a process of its own that kills itself: workspace, marker, step (0: never).

Every system call that changes a folder and every command is a step; the process dies right before it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from aar.sandbox import workspaces

SIZE, OWNER = 8 << 20, 12345
STEPS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "subprocess.Popen")


def main(workspace: Path, marker: Path, last: int) -> None:
    left = last

    def step(event: str, _arguments: object) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    workspaces.can_mount()
    sys.addaudithook(step)
    workspaces.prepare(workspace, SIZE, OWNER)
    number = int((workspace / "number").read_text()) + 1
    (workspace / "notes.part").write_bytes(f"{number} ".encode() * 5000)
    (workspace / "notes.part").rename(workspace / "notes")
    (workspace / "number.part").write_text(str(number))
    (workspace / "number.part").rename(workspace / "number")
    marker.write_text(str(number))
    workspaces.release(workspace)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
