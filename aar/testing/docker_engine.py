"""A private Docker engine that tests may stop and start.

Its folders and network are separate from any other engine's.

The shared engine only supplies the sandbox's image.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aar.sandbox.docker import DockerBackend

_START_SECONDS = 60.0


class PrivateDockerEngine:
    """A Docker engine that a test may stop.

    Args:
        folder: the folder of all its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/sock"
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        options = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        own = [f"--{name}={self.folder / path}" for name, path in options.items()]
        # In a network of its own: an engine removes the bridge of another that it meets.
        command = ["unshare", "--net", "dockerd", "-H", self.address, "--bridge=none", "--iptables=false", *own]
        with (self.folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while self.run("version", check=False) != 0:
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the engine and its containers."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(60)
            self._daemon = None

    def run(self, *command: str, check: bool = True, stdin: int | None = None) -> int:
        """Run a command of its client."""
        return subprocess.run(
            ["docker", "-H", self.address, *command], check=check, stdin=stdin, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode  # fmt: skip

    def containers(self) -> list[str]:
        """Return the names of all its containers."""
        command = ["docker", "-H", self.address, "ps", "--all", "--format", "{{.Names}}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def docker_missing_reason() -> str:
    """Return the reason why no engine can be started here, or an empty string."""

    async def missing() -> str:
        backend = DockerBackend()
        found = await backend.check()
        await backend.close()
        return "" if found.ok else found.detail

    return asyncio.run(missing()) or ("" if os.getuid() == 0 and shutil.which("dockerd") else "an engine needs root")


@contextmanager
def private_docker_engine(image: str) -> Iterator[PrivateDockerEngine]:
    """Start an engine with one image, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="aar-engine-", dir="/tmp"))
    engine = PrivateDockerEngine(folder)
    try:
        engine.start()
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            assert saved.stdout is not None
            engine.run("load", stdin=saved.stdout.fileno())
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder)
