"""Warm sandboxes that are containers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aar.sandbox.docker import DockerBackend
from aar.sandbox.protocol import SandboxBackend

from .warm_suite import WarmSuite

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture
async def backend(home: Path) -> AsyncIterator[SandboxBackend]:
    made = DockerBackend()
    availability = await made.check()
    if not availability.ok:
        await made.close()
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{availability.detail}. {availability.remedy}")
    yield made
    left = await made.orphans()
    for name in left:
        await made.remove(name)
    await made.close()
    assert not left


class TestDocker(WarmSuite):
    """Cancelled while the engine starts one, it must not leave a container."""
