"""Measures the controller's CPU time per researcher turn.

One loop, a real ledger and database, and a scripted model in another process.

Usage: python benchmarks/turn_cost.py [TURNS] [RESEARCHERS]

Each turn is one model call of some thinking, a sentence and one tool call whose input comes as 1.5 kB in 40 fragments,
as a streamed file write would. The tool is ``leaderboard``, so that the sandbox costs nothing. CPU time is that of this
process only (user + system), without imports. ``PROFILE=tottime`` prints a profile of the loop's thread.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

CAMPAIGN = "bench2"


def reply(turns_so_far: int, turns: int) -> bytes:
    """Return one streamed turn, as bytes of server-sent events."""
    last = turns_so_far + 1 >= turns
    name = "finish" if last else "leaderboard"
    padding = "x = np.linalg.svd(weights, full_matrices=False)\\n" * 32
    given = {"summary": padding} if last else {"limit": 1 + turns_so_far % 100}
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    thought = [{"type": "thinking_delta", "thinking": "What would the noise model say here? "} for _ in range(30)]
    thought.append({"type": "signature_delta", "signature": "c2ln" * 60})
    blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, thought))
    blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": "I look again. "} for _ in range(10)]))
    whole = json.dumps(given) + " " * 1500
    size = max(1, len(whole) // 40)
    fragments = [whole[at : at + size] for at in range(0, len(whole), size)]
    tool = {"type": "tool_use", "id": f"toolu_{turns_so_far}", "name": name, "input": {}}
    blocks.append((tool, [{"type": "input_json_delta", "partial_json": fragment} for fragment in fragments]))
    usage = {"input_tokens": 50, "cache_read_input_tokens": 400 * turns_so_far, "output_tokens": 300}
    message = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "usage": usage}}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 300}})
    events.append({"type": "message_stop"})
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


async def serve(turns: int) -> None:
    """Serve the scripted model: HTTP/1.1 with keep-alive, one turn a request."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            except asyncio.IncompleteReadError:
                writer.close()
                return
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            data = reply(body.count(b'"role":"assistant"'), turns)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for event in data.split(b"\n\n"):
                piece = event + b"\n\n"
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    server = await asyncio.start_server(one, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


async def contexts_of(port: int, team: int, folder: Path) -> tuple[Any, Any, list[Any]]:
    """Provide a database, the gateway to the scripted model, and a team."""
    from aar.budget.ledger import Ledger
    from aar.budget.limits import Limits
    from aar.llm.gateway import Gateway
    from aar.llm.price_book import ModelPrice, PriceBook
    from aar.problems.protocol import Metric
    from aar.researcher.context import ResearcherContext
    from aar.snapshots.store import SnapshotStore
    from aar.store import open_database
    from aar.store.models import Campaign, Researcher

    class Problem:
        name = "bench"
        metric = Metric("PGR", True, 1.0)

        def brief(self) -> str:
            return "A brief of usual length. " * 120

    class Direction:
        key, text = "d", "Look at noise."

    db = open_database(f"sqlite:///{folder / 'aar.db'}")
    with db.writing() as session:
        session.add(Campaign(id=CAMPAIGN, name="b", problem="bench", spec={}, state="running", secret="s"))
        session.flush()
        for index in range(team):
            identity = {"id": f"{CAMPAIGN}-r{index}", "name": f"r{index}", "index": index}
            session.add(
                Researcher(
                    **identity, campaign_id=CAMPAIGN, direction_key="d", direction="d", model="m", state="running"
                )
            )
    prices = PriceBook({"m": ModelPrice(*(Decimal(figure) for figure in (4, 20, 5, 8, 1)))})
    ledger = Ledger(db, CAMPAIGN, Limits(usd=Decimal(100_000)), prices)
    await ledger.load()
    gateway = Gateway(f"http://127.0.0.1:{port}", None)
    contexts = [
        ResearcherContext(
            campaign_id=CAMPAIGN,
            researcher_id=f"{CAMPAIGN}-r{index}",
            name=f"r{index}",
            model="m",
            direction=Direction(),
            problem=Problem(),  # type: ignore[arg-type]
            db=db,
            ledger=ledger,
            gateway=gateway,
            sandbox=None,  # type: ignore[arg-type]
            snapshots=SnapshotStore(folder / "snapshots"),
            scorer=None,  # type: ignore[arg-type]
            stopping=asyncio.Event(),
            context_tokens=10**9,
        )
        for index in range(team)
    ]
    return db, gateway, contexts


async def measure(port: int, team: int, folder: Path, profile: cProfile.Profile | None) -> tuple[float, float, int]:
    """Measure the CPU seconds, wall seconds and turns of a team's whole run."""
    from aar.researcher.loop import run_researcher
    from aar.store.models import LedgerEntry

    db, gateway, contexts = await contexts_of(port, team + 1, folder)
    # The first one's life is not measured: imports and first queries are no part of a turn.
    outcomes = [await run_researcher(contexts[0])]
    with db.reading() as session:
        before = session.query(LedgerEntry).count()
    if profile:
        profile.enable()
    cpu, wall = time.process_time(), time.monotonic()
    outcomes += await asyncio.gather(*(run_researcher(ctx) for ctx in contexts[1:]))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    if profile:
        profile.disable()
    assert all(outcome.reason == "finished" for outcome in outcomes), outcomes
    with db.reading() as session:
        turns = session.query(LedgerEntry).count() - before
    await gateway.close()
    db.close()
    return cpu, wall, turns


def main() -> None:
    """Run the scripted model as a child, measure, print."""
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(int(sys.argv[2])))
        return
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    team = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    command = [sys.executable, __file__, "--serve", str(turns)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        profile = cProfile.Profile() if os.environ.get("PROFILE") else None
        cpu, wall, made = asyncio.run(measure(port, team, Path(folder), profile))
        if profile:
            pstats.Stats(profile).sort_stats(os.environ["PROFILE"]).print_stats(45)
        assert server.stdin is not None
        server.stdin.close()
    print(f"{team} researchers, {made} turns: {1000 * cpu / made:.2f} ms CPU a turn, {made / wall:.0f} turns/s")


if __name__ == "__main__":
    main()
