"""Compares the latency of sandboxes with docker-py's ``exec_run``.

On the same engine in the same minutes.

    python benchmarks/sandbox_latency.py [--commands 300] [--starts 15] [--backends docker bubblewrap]

Turns are interleaved, so that other load on the machine falls on all alike. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from aar.sandbox.docker.engine import default_tag
from aar.sandbox.inventory import get_backend
from aar.sandbox.protocol import Sandbox, SandboxBackend, SandboxSpec

OUTPUT_BYTES = 50_000_000
Timed = Callable[[], Awaitable[object]]


def quantile(seconds: list[float], share: float) -> str:
    """Return a quantile in milliseconds."""
    ordered = sorted(seconds)
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000:.2f}"


async def interleaved(actions: dict[str, Timed], rounds: int, block: int = 1) -> dict[str, list[float]]:
    """Measure the seconds of each action, in turns of ``block`` in a row."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds // block):
        for name, action in actions.items():
            for _ in range(block):
                began = time.perf_counter()
                await action()
                taken[name].append(time.perf_counter() - began)
    return taken


def spec(folder: Path, name: str) -> SandboxSpec:
    """Return the spec of a sandbox with two cores."""
    return SandboxSpec(f"bench-{os.getpid()}-{name}", "bench", folder / name, workspace_bytes=64 << 20, cpus=2)


async def commands(boxes: dict[str, Sandbox], container: object, rounds: int) -> None:
    """Measure a trivial command, and a shell."""
    for title, vector in (("`true`", ["true"]), ("`bash -c true`", ["bash", "-c", "true"])):
        actions: dict[str, Timed] = {
            f"aar {name}": lambda box=box, vector=vector: box.exec(vector, timeout=30) for name, box in boxes.items()
        }
        if container is not None:
            actions["docker-py exec_run"] = lambda vector=vector: asyncio.to_thread(container.exec_run, vector)
        for how, block in (("one at a time", 1), ("20 in a row", 20)):
            for name, seconds in (await interleaved(actions, rounds, block)).items():
                print(
                    f"| {title}, {how}, p50 / p99 ms | {name} | {quantile(seconds, 0.5)} / {quantile(seconds, 0.99)} |"
                )


async def output(boxes: dict[str, Sandbox], container: object) -> None:
    """Measure 50 MB of output, all of it captured."""
    vector = ["head", "-c", str(OUTPUT_BYTES), "/dev/zero"]
    actions: dict[str, Timed] = {
        f"aar {name}": lambda box=box: box.exec(vector, timeout=120, output_limit=2 * OUTPUT_BYTES)
        for name, box in boxes.items()
    }
    if container is not None:
        actions["docker-py exec_run"] = lambda: asyncio.to_thread(container.exec_run, vector)
    for name, seconds in (await interleaved(actions, 5)).items():
        print(f"| 50 MB of output, MB/s | {name} | {OUTPUT_BYTES / 1e6 / statistics.median(seconds):.0f} |")


async def starts(backends: dict[str, SandboxBackend], folder: Path, client: object, rounds: int) -> None:
    """Measure the start of a hardened sandbox, and of a plain ``docker run``.

    A start ends with the first answer.
    """
    made: list[str] = []
    numbers = iter(range(10_000))

    async def ours(name: str) -> None:
        box = await backends[name].create(spec(folder, f"start-{name}-{next(numbers)}"))
        made.append(f"{name} {box.spec.name}")

    image = default_tag("cpu")

    async def plain() -> None:
        await asyncio.to_thread(
            subprocess.run,
            ["docker", "run", "-d", "--label", "aar-bench", image, "sleep", "600"],
            check=True,
            capture_output=True,
        )

    async def ready() -> None:
        await asyncio.to_thread(
            subprocess.run,
            ["docker", "run", "--rm", image, "python3", "-c", "pass"],
            check=True,
            capture_output=True,
        )

    actions: dict[str, Timed] = {f"aar {name}": lambda name=name: ours(name) for name in backends}
    if client is not None:
        actions["docker run -d (plain)"] = plain
        actions["docker run python3 -c pass (plain)"] = ready
    taken = await interleaved(actions, rounds)
    for name, seconds in taken.items():
        print(f"| start, p50 / max ms | {name} | {quantile(seconds, 0.5)} / {quantile(seconds, 1)} |")
    for line in made:
        backend, name = line.split()
        await backends[backend].remove(name)
    if client is not None:
        for container in client.containers.list(all=True, filters={"label": "aar-bench"}):
            container.remove(force=True)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=300)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--backends", nargs="+", default=["docker", "bubblewrap"])
    asked = parser.parse_args()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aar-bench-")))
        backends = {name: get_backend(name) for name in asked.backends}
        boxes: dict[str, Sandbox] = {}
        for name, backend in backends.items():
            stack.push_async_callback(backend.close)
            boxes[name] = await backend.create(spec(folder, name))
            stack.push_async_callback(boxes[name].destroy)
        client = container = None
        if "docker" in backends:
            import docker

            client = docker.from_env()
            stack.callback(client.close)
            container = client.containers.run(
                default_tag("cpu"),
                ["sleep", "3600"],
                detach=True,
                network_mode="none",
                cap_drop=["ALL"],
                read_only=True,
            )
            stack.callback(container.remove, force=True)
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, load {load:.1f}\n\n| what | who | figure |\n|---|---|---|")
        await commands(boxes, container, asked.commands)
        await output(boxes, container)
        await starts(backends, folder, client, asked.starts)


if __name__ == "__main__":
    asyncio.run(main())
