"""Shared fixtures of the sandbox suite: the sandbox under test, and a clean run."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aar.sandbox.protocol import Sandbox, SandboxBackend, SandboxSpec

MEMORY = 256 * 1024**2
PROCESSES = 64
WORKSPACE_BYTES = 32 * 1024**2
Scenario = Callable[[SandboxBackend, Sandbox], Awaitable[None]]
Run = Callable[[Scenario], None]
"""Function that runs a scenario with a fresh sandbox and checks that nothing is left."""


class SandboxTests:
    """Fixtures of all parts of the sandbox suite."""

    @pytest.fixture
    def make_backend(self) -> Callable[[], SandboxBackend]:
        """Return a function that makes the backend under test.

        It is called inside the test's event loop.
        """
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def spec(self, tmp_path: Path) -> SandboxSpec:
        """Return the spec of the sandbox under test."""
        return SandboxSpec(
            name=f"suite-{uuid.uuid4().hex[:10]}",
            campaign_id=f"suite-{uuid.uuid4().hex[:6]}",
            workspace=tmp_path / "workspace",
            memory_bytes=MEMORY,
            max_processes=PROCESSES,
            workspace_bytes=WORKSPACE_BYTES,
            cpus=2.0,
        )

    @pytest.fixture
    def run(self, make_backend: Callable[[], SandboxBackend], spec: SandboxSpec) -> Run:
        """Return ``run(scenario)``, which runs a scenario in a fresh sandbox and cleans up."""

        async def whole(scenario: Scenario) -> None:
            backend = make_backend()
            try:
                sandbox = await backend.create(spec)
                await scenario(backend, sandbox)
            finally:
                await backend.remove(spec.name)
                left = await backend.orphans(spec.campaign_id)
                await backend.close()
            assert list(left) == []

        return lambda scenario: asyncio.run(whole(scenario))


async def living_sleeps(box: Sandbox) -> int:
    """Count the ``sleep`` processes in a sandbox, zombies left out."""
    look = (
        "import os\n"
        "n = 0\n"
        "for p in os.listdir('/proc'):\n"
        "    if p.isdigit():\n"
        "        try: s = open(f'/proc/{p}/stat').read()\n"
        "        except OSError: continue\n"
        "        n += '(sleep)' in s and s.rsplit(')', 1)[1].split()[0] not in 'ZX'\n"
        "print(n)\n"
    )
    return int((await box.exec(["python3", "-c", look], timeout=60)).output)
