"""Measures the overhead of a turn with many researchers in one controller.

Usage: python benchmarks/many_researchers.py [RESEARCHERS] [TURNS] [--think LEAST MOST] [--warm TURNS] [--seconds MOST]
(500 of 12 turns; 2 to 10 seconds; 4). As calm as real turns of Claude are, and ended in time:
    python benchmarks/many_researchers.py 500 100 --think 15 35 --warm 2 --seconds 200

Real loops, ledger and SQLite in this process; a scripted model in another one, which streams each reply of 90 events in
a dozen pieces over the time it "thinks". The overhead of a turn is the time from one recorded turn to the next, less
that time: answering the tool call, news, reservation, request, reading the reply, settlement, and all waiting for each
other. The first turns of each (``--warm``) are not counted: all begin at once, and the pacer finds out how many calls
the service takes. After ``--seconds`` all are asked to pause, and do so once their replies are in.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from turn_cost import CAMPAIGN, contexts_of, reply

_PIECES = 12
_THOUGHT = re.compile(r"thought for ([\d.]+) s")


async def serve(turns: int, least: float, most: float) -> None:
    """Serve the scripted model: HTTP/1.1 with keep-alive, replies spread over their time."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            began = asyncio.get_running_loop().time()
            seconds = round(random.uniform(least, most), 3)
            data = reply(body.count(b'"role":"assistant"'), turns).replace(
                b"I look again. ", f"thought for {seconds} s. ".encode(), 1
            )
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            events = data.split(b"\n\n")[:-1]
            size = -(-len(events) // _PIECES)
            for number, at in enumerate(range(0, len(events), size), start=1):
                due = began + seconds * min(number / _PIECES, 1.0)
                await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0))
                piece = b"\n\n".join(events[at : at + size]) + b"\n\n"
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    server = await asyncio.start_server(one, "127.0.0.1", 0, limit=2**24, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


async def measure(
    port: int, team: int, folder: Path, warm: int, seconds: float | None
) -> tuple[list[float], int, float, float]:
    """Measure overheads in seconds, turns, CPU seconds and wall seconds.

    Overheads are those of the counted turns; turns are all turns.
    """
    from aar.researcher.loop import run_researcher
    from aar.store.event_log import read_events

    db, gateway, contexts = await contexts_of(port, team, folder)
    cpu, wall = time.process_time(), time.monotonic()
    lives = [asyncio.ensure_future(run_researcher(ctx)) for ctx in contexts]
    await asyncio.wait(lives, timeout=seconds)
    for ctx in contexts:
        ctx.stopping.set()
    outcomes = await asyncio.gather(*lives)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    ended = {"finished"} if seconds is None else {"finished", "paused"}
    assert {outcome.reason for outcome in outcomes} <= ended, outcomes
    await gateway.close()
    overheads: list[float] = []
    before: defaultdict[str, float] = defaultdict(float)
    after = 0
    turns: defaultdict[str, int] = defaultdict(int)
    with db.reading() as session:
        while page := read_events(session, CAMPAIGN, after=after, limit=5000, kinds=("turn_received",)):
            after = page[-1].id
            for logged in page:
                who, at = str(logged.researcher_id), logged.at.timestamp()
                thought = _THOUGHT.search(str(logged.event.content))  # type: ignore[union-attr]
                assert thought is not None
                turns[who] += 1
                if turns[who] > warm:
                    overheads.append(at - before[who] - float(thought[1]))
                before[who] = at
    db.close()
    return overheads, sum(turns.values()), cpu, wall


def main() -> None:
    """Run the model as a child, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("researchers", type=int, nargs="?", default=500)
    parser.add_argument("turns", type=int, nargs="?", default=12)
    parser.add_argument("--think", type=float, nargs=2, default=(2.0, 10.0))
    parser.add_argument("--warm", type=int, default=4)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.turns, *given.think))
        return
    think = [str(each) for each in given.think]
    command = [sys.executable, __file__, "0", str(given.turns), "--think", *think, "--serve"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        port = int(server.stdout.readline())
        team = measure(port, given.researchers, Path(folder), given.warm, given.seconds)
        overheads, turns, cpu, wall = asyncio.run(team)
        server.stdin.close()
    overheads.sort()
    shares = "  ".join(f"p{p} {1000 * overheads[int(p / 100 * (len(overheads) - 1))]:.0f} ms" for p in (50, 95, 99))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.researchers} researchers, {turns} turns, {turns / wall:.0f} turns/s")
    print(f"overhead of a turn, {len(overheads)} of them: {shares}")
    print(f"{1000 * cpu / turns:.1f} ms CPU a turn, {100 * cpu / wall:.0f} % of a core, {memory:.0f} MB at most")


if __name__ == "__main__":
    main()
