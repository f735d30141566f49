"""Shared parts of HTTP benchmarks: servers, clients and quantiles.

Servers are processes of their own; a client has one persistent connection.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aar.web.listen_address import bind_listener

_READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; ``body`` as it crossed the wire."""

    body: bytes
    zipped: bool

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(gzip.decompress(self.body) if self.zipped else self.body)


class Client:
    """A client with one persistent connection and little work between requests.

    It has as little as the standard library allows.

    Args:
        pid: process id of the server, whose CPU time is measured.
    """

    def __init__(self, port: int, headers: Mapping[str, str], pid: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Accept-Encoding": "gzip", **headers}
        self.pid = pid

    def ask(self, method: str, path: str, sent: dict[str, Any] | None = None, **query: str | int) -> Answer:
        """Make one request. Raises AssertionError for a response that is no success."""
        headers = self._headers | ({} if sent is None else {"Content-Type": "application/json"})
        body = None if sent is None else json.dumps(sent).encode()
        self._connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, headers)
        answer = self._connection.getresponse()
        found = Answer(answer.read(), answer.headers.get("Content-Encoding") == "gzip")
        assert answer.status < 300, (answer.status, found.body)
        return found

    def close(self) -> None:
        """Close the connection, so that it is opened again when next needed."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Timed:
    """The times of one kind of request.

    Milliseconds of each, and the server's CPU milliseconds for one.
    """

    ms: Sequence[float]
    cpu_ms: float

    def quantile(self, share: float) -> float:
        """Return a quantile in milliseconds."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def median(self) -> float:
        """Return the median in milliseconds."""
        return self.quantile(0.5)

    @property
    def rate(self) -> float:
        """Return requests a second, one after another."""
        return 1000 * len(self.ms) / sum(self.ms)


def timed(client: Client, action: Callable[[], Any], times: int) -> Timed:
    """Time an action, repeated the given number of times."""
    taken, before = [], cpu_seconds(client.pid)
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append(1000 * (time.perf_counter() - begun))
    return Timed(taken, 1000 * (cpu_seconds(client.pid) - before) / times)


@contextmanager
def served(
    command: Sequence[str], ready: str, port: int, *, environment: Mapping[str, str], headers: Mapping[str, str]
) -> Iterator[Client]:
    """Start a server process and a client of it, once ``ready`` answers."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    client = Client(port, headers, process.pid)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                client.ask("GET", ready)
                break
            except OSError:
                client.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


@contextmanager
def aar_serve(home: Path) -> Iterator[tuple[str, int]]:
    """Start ``aar serve`` on one core; its address and process id."""
    environment = {**os.environ, "AAR_HOME": str(home)}
    command = [sys.executable, "-m", "aar", "serve", "--port", "0"]
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    try:
        assert process.stdout is not None
        address = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
        yield address.rstrip("/.,"), process.pid
    finally:
        process.terminate()
        process.wait()


def ms(seconds: Sequence[float], share: float) -> str:
    """Format a quantile in milliseconds."""
    ordered = sorted(seconds)
    return f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:,.0f}" if ordered else "–"


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a free port."""
    with bind_listener("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])
