"""Servers for the length of a test run: a temporary PostgreSQL server, a private Docker engine.

The folders and network of the private engine, which tests may stop and start, are separate from any other engine's. The
shared engine only supplies the sandbox's image.
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

from aar.errors import SetupError
from aar.sandbox.docker import DockerBackend

_START_SECONDS = 60.0


@contextmanager
def throwaway_postgres() -> Iterator[str]:
    """Start a temporary server, and remove it at the end.

    It lies in a temporary folder and is reachable by its socket only.

    Yields the URL of its database ``postgres``, whose user may create others.

    Raises:
        SetupError: PostgreSQL's programs are not installed, or the server did not start.
    """
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="aar-pg-"))
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if account:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs / program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
            **account,  # type: ignore[call-overload, unused-ignore]
        )
        if done.returncode != 0:
            raise SetupError(f"{program} failed with status {done.returncode}: {(done.stdout or b'')[-500:]!r}")

    try:
        run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    program = shutil.which("initdb")
    folders = [Path(program).parent] if program else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]), reverse=True
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise SetupError("PostgreSQL's server programs are not installed", "Install Debian's package postgresql")


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
        availability = await backend.check()
        await backend.close()
        return "" if availability.ok else availability.detail

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
