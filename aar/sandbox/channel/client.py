"""The host's end of a channel: launch of the server inside, frames, and many requests over one connection.

All data from inside is treated as hostile: sizes are capped, a malformed frame ends the sandbox, and only the sandbox's
first process is accepted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aar.errors import AarError, SandboxGone
from aar.processes import HostProcess
from aar.sandbox import server
from aar.sandbox.isolation import kernel
from aar.sandbox.protocol import WORKSPACE, SandboxSpec
from aar.sandbox.server.framing import LENGTHS, MAX_PAYLOAD

SERVER_SOURCE = Path(server.__file__).parent
"""Host directory with the server's code; shown inside, read-only, at ``SERVER_TARGET``."""
SERVER_TARGET = "/opt/aar/server"
CHANNEL_TARGET = "/run/aar"
"""Place of the channel's host directory inside, read-only."""
SOCKET_NAME = "sock"
CONFIG_NAME = "config.json"
OOM_FILES = (
    "/run/cgroup/memory.oom_control",
    "/run/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/sys/fs/cgroup/memory.events",
)
"""Possible places inside of the kernel's count of out-of-memory kills; the first match wins."""
ABANDONED_SECONDS = 24 * 3600.0
"""Seconds without a controller after which a sandbox ends."""
MAX_HEADER = 64 << 20
"""Largest header from inside: it may list every file of a directory; a larger one is an attack."""
_STREAM_LIMIT = 1 << 20
_POLL_SECONDS = 0.25
_BACKLOG = 16
_STRANGER_SECONDS = 0.001
"""Pause after each refused connection: a flood of them cannot block the event loop."""
_MOST_STRANGER_REPORTS = 100
_CLOSE_SECONDS = 2.0
_UCRED = struct.Struct("3i")


def server_command(python: str = "python3") -> list[str]:
    """Return the argument vector of the sandbox's first process.

    ``-I -S``: nothing in the workspace is ever imported.
    """
    start = "import sys; sys.path.insert(0, '/opt/aar'); from server.main import main; main()"
    return [python, "-I", "-S", "-B", "-c", start, f"{CHANNEL_TARGET}/{CONFIG_NAME}"]


def base_environment(spec: SandboxSpec, *, path: str, site: str = "") -> dict[str, str]:
    """Build the environment of every command.

    The spec's variables extend a small clean set; the host's are left out.

    Args:
        spec: its ``env`` wins, but its PYTHONPATH is put in front of ``site`` and does not replace it.
        path: PATH inside.
        site: directory inside that holds the scientific packages, where they are not in Python's own place.
    """
    threads = str(max(1, math.ceil(spec.cpus)))
    env = {
        "PATH": path,
        "HOME": WORKSPACE,
        "USER": "researcher",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
        **spec.env,
    }
    if site:
        env["PYTHONPATH"] = f"{spec.env['PYTHONPATH']}:{site}" if spec.env.get("PYTHONPATH") else site
    return env


def write_config(
    directory: Path,
    spec: SandboxSpec,
    env: dict[str, str],
    *,
    watch_workspace: bool,
    watch_memory: bool = False,
    rlimits: dict[str, int] | None = None,
    abandoned_after: float = ABANDONED_SECONDS,
) -> None:
    """Write the server's configuration into the channel's directory.

    Args:
        directory: the channel's.
        env: of every command.
        watch_workspace, watch_memory: True if the server must limit them, because the kernel does not.
        rlimits: further resource limits, by the names of ``server.limits``.
        abandoned_after: seconds without any controller after which the sandbox ends itself.
    """
    config: dict[str, Any] = {
        "socket": f"{CHANNEL_TARGET}/{SOCKET_NAME}",
        "env": env,
        "rlimits": {"core": 0, "nofile": 4096, "fsize": spec.workspace_bytes, **(rlimits or {})},
        "lifetime": spec.lifetime_seconds,
        "abandoned_after": abandoned_after,
        "quota": spec.workspace_bytes if watch_workspace else None,
        "memory": spec.memory_bytes if watch_memory else None,
        "oom_files": list(OOM_FILES),
        "seccomp": kernel.filter_programs(),
    }
    path = directory / CONFIG_NAME
    path.write_text(json.dumps(config))
    path.chmod(0o644)


class BadFrame(AarError):
    """Data from the channel that is not a frame of the protocol."""


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Read the next frame. Raises BadFrame, asyncio.IncompleteReadError (the other side closed)."""
    header_size, payload_size = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
    if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
        raise BadFrame(f"the sandbox sent a frame of {header_size} + {payload_size} bytes")
    encoded = await reader.readexactly(header_size)
    payload = await reader.readexactly(payload_size) if payload_size else b""
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise BadFrame("the sandbox sent a frame whose header is not JSON") from error
    if not isinstance(header, dict):
        raise BadFrame("the sandbox sent a frame whose header is not an object")
    return header, payload


def encode_frames(header: dict[str, Any], payload: bytes) -> list[bytes]:
    """Encode a request as bytes. A large payload is split."""
    pieces = []
    while len(payload) > MAX_PAYLOAD:
        pieces.append(_frame({"id": header["id"], "more": True}, payload[:MAX_PAYLOAD]))
        payload = payload[MAX_PAYLOAD:]
    pieces.append(_frame(header, payload))
    return pieces


def _frame(header: dict[str, Any], payload: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return LENGTHS.pack(len(encoded), len(payload)) + encoded + payload


@dataclass(slots=True)
class ChannelReply:
    """The reply to one request: the fields of its last frame, the bytes of all."""

    fields: dict[str, Any]
    data: bytes


@dataclass(slots=True)
class _Pending:
    future: asyncio.Future[dict[str, Any]]
    bytes_left: int
    data: bytearray = field(default_factory=bytearray)


class ChannelClient:
    """Client of one sandbox's server.

    It listens in ``directory`` until the one process that may connect has connected.

    It stops listening then, so other processes inside cannot reach the controller.

    Args:
        name: the sandbox's name, for messages.
        directory: host directory that the sandbox sees read-only; holds the socket.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.strangers = 0
        """Connections refused because they did not come from the sandbox's first process."""
        self.on_stranger: Callable[[str], None] | None = None
        self._path = directory / SOCKET_NAME
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._listener: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._broken = ""

    async def listen(self) -> None:
        """Open the socket. Replaces the one of a former controller."""
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)
        self._listener.listen(_BACKLOG)

    async def connected(self, process: HostProcess, timeout: float) -> None:
        """Wait for the sandbox's first process, then stop listening.

        Raises:
            SandboxGone: it ended, or did not come within ``timeout`` seconds.
        """
        if self._listener is None:
            raise SandboxGone(self._gone())
        try:
            sock = await self._first_process(self._listener, process, timeout)
            reader, self._writer = await asyncio.open_unix_connection(sock=sock, limit=_STREAM_LIMIT)
        finally:
            self._stop_listening()
        self._reading = asyncio.create_task(self._read(reader))

    async def _first_process(self, listener: socket.socket, process: HostProcess, timeout: float) -> socket.socket:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        try:
            while True:
                if (await asyncio.wait({accepting}, timeout=_POLL_SECONDS))[0]:
                    sock, _address = accepting.result()
                    accepting = asyncio.ensure_future(loop.sock_accept(listener))
                    pid, _uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
                    if pid == process.pid:
                        return sock
                    self._refuse(sock, pid)
                    await asyncio.sleep(_STRANGER_SECONDS)
                elif not process.alive():
                    raise SandboxGone(f"sandbox {self.name}: its first process ended")
                if loop.time() > deadline:
                    raise SandboxGone(f"sandbox {self.name}: no server answered within {timeout:.0f} s")
        finally:
            accepting.cancel()
            await asyncio.wait({accepting})
            if not accepting.cancelled() and accepting.exception() is None:
                accepting.result()[0].close()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._path.unlink(missing_ok=True)
            self._listener.close()
            self._listener = None

    async def call(
        self,
        op: str,
        fields: dict[str, Any],
        payload: bytes = b"",
        *,
        timeout: float,
        most: int = 1 << 20,
    ) -> ChannelReply:
        """Send a request and wait for the end of its reply.

        Args:
            timeout: seconds after which the sandbox counts as gone.
            most: bytes that the reply may carry; more is an attack.

        Raises:
            SandboxGone: the connection ended, or the reply was missing or malformed.
        """
        if self._writer is None or self._broken:
            raise SandboxGone(self._gone())
        number = next(self._numbers)
        pending = _Pending(asyncio.get_running_loop().create_future(), most)
        self._pending[number] = pending
        try:
            async with asyncio.timeout(timeout):
                self._writer.writelines(encode_frames({"id": number, "op": op, **fields}, payload))
                await self._writer.drain()
                done = await pending.future
        except TimeoutError:
            raise SandboxGone(f"sandbox {self.name}: no reply to {op} within {timeout:.0f} s") from None
        except OSError:
            raise SandboxGone(self._gone()) from None
        except asyncio.CancelledError:
            if op == "exec" and not self._broken:
                self._writer.writelines(
                    encode_frames({"id": next(self._numbers), "op": "cancel", "target": number}, b"")
                )
            raise
        finally:
            self._pending.pop(number, None)
            if not pending.future.done():
                pending.future.cancel()
        return ChannelReply(done, bytes(pending.data))

    async def close(self) -> None:
        """Close the connection. The sandbox stays and waits for the next controller.

        The call does not wait for a sandbox that does not read pending data.
        """
        self._fail("the channel was closed")
        self._stop_listening()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._writer is not None:
            self._writer.close()
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._writer.wait_closed()
            except OSError:  # a TimeoutError too
                self._writer.transport.abort()

    def _gone(self) -> str:
        return f"sandbox {self.name}: {self._broken or 'not connected'}"

    def _refuse(self, sock: socket.socket, pid: int) -> None:
        self.strangers += 1
        sock.close()
        if self.on_stranger is not None and self.strangers <= _MOST_STRANGER_REPORTS:
            self.on_stranger(f"host process {pid} tried to speak for the sandbox's server")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header, payload = await read_frame(reader)
                self._take(header, payload)
        except asyncio.IncompleteReadError:
            self._fail("its server ended")
        except (BadFrame, OSError) as error:
            self._fail(f"the channel broke ({error})")
            if self._writer is not None:
                self._writer.transport.abort()

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        number = header.get("id")
        pending = self._pending.get(number) if isinstance(number, int) else None
        if pending is None:  # the hello, or the rest of an abandoned reply
            return
        if len(payload) > pending.bytes_left:
            raise BadFrame("the sandbox sent more than was requested")
        pending.bytes_left -= len(payload)
        pending.data += payload
        done = header.get("done")
        if done is not None and not pending.future.done():
            if not isinstance(done, dict):
                raise BadFrame("the sandbox sent a reply that is not an object")
            pending.future.set_result(done)

    def _fail(self, why: str) -> None:
        self._broken = self._broken or why
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(SandboxGone(self._gone()))
