"""The host's end of the channel, against a peer that lies."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.errors import NotFound, SandboxGone, TransferRefused
from aar.processes import HostProcess
from aar.sandbox.channel import transfer
from aar.sandbox.channel.client import ChannelClient
from aar.sandbox.server.command import OutputBuffer

_PEER = """
import os, socket, sys, time
sock = socket.socket(socket.AF_UNIX)
while sock.connect_ex(sys.argv[1]):
    time.sleep(0.01)
if not sock.recv(1):
    sys.exit()
sock.sendall(open(sys.argv[2], 'rb').read())
time.sleep(60)
"""


def frame(header: bytes, payload: bytes = b"") -> bytes:
    """A frame as it is on the socket."""
    return struct.pack(">II", len(header), len(payload)) + header + payload


def talk(folder: Path, said: bytes, scenario: Callable[[ChannelClient], Awaitable[None]]) -> None:
    """Run a scenario against a peer that answers the first request with ``said``."""

    (folder / "said").write_bytes(said)
    command = [sys.executable, "-c", _PEER, str(folder / "sock"), str(folder / "said")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as peer:
        process = HostProcess.of(peer.pid)
        assert process is not None

        async def whole() -> None:
            channel = ChannelClient("box", folder)
            await channel.listen()
            try:
                await channel.connected(process, 20)
                await scenario(channel)
            finally:
                await channel.close()

        try:
            asyncio.run(whole())
        finally:
            peer.kill()


@pytest.mark.parametrize(
    "said",
    [
        struct.pack(">II", 1 << 31, 0),
        struct.pack(">II", 10, 1 << 30),
        frame(b"not json"),
        frame(b"[1, 2]"),
        frame(b"[" * 100_000),
        frame(b'{"id": 1}', b"x" * 2000),
        frame(b'{"id": 1, "done": 7}'),
    ],
    ids=["huge-header", "huge-payload", "no-json", "no-object", "deep-json", "too-much", "no-answer"],
)
def test_nonsense_from_inside_means_gone(tmp_path: Path, said: bytes) -> None:
    async def scenario(channel: ChannelClient) -> None:
        with pytest.raises(SandboxGone):
            await channel.call("ping", {}, timeout=20, most=1000)

    talk(tmp_path, said, scenario)


def test_silence_means_gone(tmp_path: Path) -> None:
    async def scenario(channel: ChannelClient) -> None:
        with pytest.raises(SandboxGone):
            await channel.call("ping", {}, timeout=0.2)

    talk(tmp_path, b"", scenario)


def test_answers_to_nobody_are_passed_over(tmp_path: Path) -> None:
    said = frame(b'{"id": 99, "done": {}}') + frame(b'{"hello": 1}') + frame(b'{"id": 1, "done": {"x": 1}}')

    async def scenario(channel: ChannelClient) -> None:
        assert (await channel.call("ping", {}, timeout=20)).fields == {"x": 1}

    talk(tmp_path, said, scenario)


def test_only_the_expected_process_is_listened_to(tmp_path: Path) -> None:
    expected = HostProcess.of(1)
    assert expected is not None
    told: list[str] = []

    async def whole() -> int:
        channel = ChannelClient("box", tmp_path)
        channel.on_stranger = told.append
        await channel.listen()
        with pytest.raises(SandboxGone):
            await channel.connected(expected, 2)
        await channel.close()
        return channel.strangers

    command = [sys.executable, "-c", _PEER, str(tmp_path / "sock"), "/dev/null"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL):
        assert asyncio.run(whole()) == len(told) == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"error": "os", "errno": 2}, FileNotFoundError),
        ({"error": "os", "errno": 30}, PermissionError),
        ({"error": "os", "errno": 28}, TransferRefused),
        ({"error": "os", "errno": "x"}, SandboxGone),
        ({"error": "refused", "message": "no"}, TransferRefused),
        ({"error": "request", "message": "no"}, NotFound),
    ],
)
def test_what_an_error_means(fields: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        transfer.raise_for_error(fields, {"job": "j1", "path": "p"})


@pytest.mark.parametrize(
    "entries",
    [[["../x", 1, 420]], [["/etc/x", 1, 420]], [["a/../../x", 1, 420]], [["a\0b", 1, 420]], [["", 1, 420]]],
)
def test_names_that_leave_their_directory_are_refused(entries: list[object]) -> None:
    with pytest.raises(TransferRefused):
        transfer.parse_listing({"entries": entries})


@pytest.mark.parametrize("entries", [None, 1, [1], [["a"]], [["a", "b", "c"]], [{"a": 1}]])
def test_a_listing_of_another_shape_means_gone(entries: object) -> None:
    with pytest.raises(SandboxGone):
        transfer.parse_listing({"entries": entries})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["reason", "code", "seconds", "dropped", "job", "running", "outcome"]), json_values)
)
def test_any_answer_is_an_answer_or_gone(fields: dict[str, object]) -> None:
    fields = json.loads(json.dumps(fields))
    for read in (
        lambda: transfer.parse_exec_result(fields, b""),
        lambda: transfer.parse_job_status(fields),
    ):
        try:
            read()
        except SandboxGone:
            continue


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 120), st.booleans())
def test_capture_keeps_both_ends_and_counts_the_rest(pieces: list[bytes], limit: int, streamed: bool) -> None:
    sent = bytearray()
    capture = OutputBuffer(limit, sent.extend if streamed else None)
    for piece in pieces:
        capture.feed(piece)
    tail, dropped = capture.end()
    head = bytes(sent) if streamed else bytes(capture.head)
    whole = b"".join(pieces)
    assert len(head) + len(tail) + dropped == len(whole) == capture.total
    assert len(head) + len(tail) <= limit or not limit
    assert whole.startswith(head)
    assert whole.endswith(tail)
    if len(whole) <= limit:
        assert head + tail == whole
