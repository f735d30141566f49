"""One life of a sandbox in a process of its own that kills itself: backend, folder, name, step (0: never).

Every system call that changes a folder, every file that is written, every program that is started and every answer of
the sandbox is a step; the process dies right before it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from aar.sandbox import workspaces
from aar.sandbox.inventory import get_backend
from aar.sandbox.protocol import SandboxSpec

STEPS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "subprocess.Popen", "os.posix_spawn", "os.kill")
_WRITES = os.O_WRONLY | os.O_RDWR


async def main(backend_name: str, folder: Path, name: str, last: int) -> None:
    made = 0

    def step(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal made
        flags = arguments[2] if event == "open" else 0
        if event in STEPS or (isinstance(flags, int) and flags & _WRITES):
            made += 1
            if made == last:
                os.kill(os.getpid(), signal.SIGKILL)

    workspaces.can_mount()
    backend = get_backend(backend_name)
    await backend.check()
    sys.addaudithook(step)
    spec = SandboxSpec(
        name=name, campaign_id="gone", workspace=folder / name, workspace_bytes=1 << 25, keep_workspace=False
    )
    box = await backend.create(spec)
    await box.write("note", b"x" * 1000)
    await box.start_job("sleep 600", timeout=1000)
    await box.destroy()
    await backend.close()
    print(made, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
