"""Measures many sandboxes on one machine.

100 idle ones and their memory, 50 attached again after a restart, and escapes.

    python benchmarks/sandbox_scale.py [--idle 100] [--attach 50] [--escapes] [--backends docker bubblewrap]

Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aar.sandbox.inventory import get_backend, list_sandboxes
from aar.sandbox.protocol import SandboxSpec
from aar.testing.conformance.escape_suite import attempt_all_escapes

_AT_ONCE = 4


def specs(folder: Path, count: int) -> list[SandboxSpec]:
    """Return specs of many sandboxes with small workspaces."""
    names = [f"scale-{os.getpid()}-{number}" for number in range(count)]
    return [SandboxSpec(name, "scale", folder / name, workspace_bytes=16 << 20) for name in names]


def available_bytes() -> int:
    """Return the memory that the kernel could still give, in bytes."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


async def idle(name: str, folder: Path, count: int, attached: int) -> None:
    """Start sandboxes, measure their memory, restart, attach some again, remove all."""
    made = specs(folder, count)
    backend = get_backend(name)
    before, began = available_bytes(), time.perf_counter()
    turns = asyncio.Semaphore(_AT_ONCE)

    async def start(spec: SandboxSpec) -> None:
        async with turns:
            await backend.create(spec)

    await asyncio.gather(*(start(spec) for spec in made))
    print(f"| {count} idle sandboxes, started in s | {name} | {time.perf_counter() - began:.1f} |")
    rows = [row for row in await list_sandboxes() if row.name in {spec.name for spec in made} and row.stats]
    each = sum(row.stats.memory_bytes for row in rows if row.stats) / len(rows) / 1024**2
    taken = (before - available_bytes()) / count / 1024**2
    print(f"| memory of each, own / with what the host spends, MiB | {name} | {each:.1f} / {taken:.1f} |")
    await backend.close()
    second = get_backend(name)
    await second.check()
    began = time.perf_counter()
    boxes = await asyncio.gather(*(second.attach(spec) for spec in made[:attached]))
    print(f"| {attached} taken up after a restart, s | {name} | {time.perf_counter() - began:.2f} |")
    results = await asyncio.gather(*(box.exec(["true"], timeout=60) for box in boxes))
    assert all(result.ok for result in results)
    began = time.perf_counter()
    await asyncio.gather(*(_remove(turns, second, spec.name) for spec in made))
    print(f"| {count} removed in s | {name} | {time.perf_counter() - began:.1f} |")
    await second.close()


async def _remove(turns: asyncio.Semaphore, backend: object, name: str) -> None:
    async with turns:
        await backend.remove(name)  # type: ignore[attr-defined]


async def escapes(names: Sequence[str], folder: Path) -> None:
    """Return the escape suite as a table line."""
    for name in names:
        place = folder / f"escapes-{name}"
        place.mkdir()
        backend = get_backend(name)
        outcomes = await attempt_all_escapes(backend, place)
        await backend.close()
        through = [outcome.name for outcome in outcomes if outcome.got_through]
        noticed = [outcome.name for outcome in outcomes if not outcome.neighbour_fine]
        print(f"| escapes tried / got through / noticed by a neighbour | {name} | ", end="")
        print(f"{len(outcomes)} / {len(through)} {' '.join(through)} / {len(noticed)} {' '.join(noticed)} |")


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=100)
    parser.add_argument("--attach", type=int, default=50)
    parser.add_argument("--escapes", action="store_true")
    parser.add_argument("--backends", nargs="+", default=["docker", "bubblewrap"])
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n\n| what | who | figure |\n|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="aar-scale-") as folder:
        for name in asked.backends:
            await idle(name, Path(folder), asked.idle, min(asked.attach, asked.idle))
        if asked.escapes:
            await escapes(asked.backends, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
