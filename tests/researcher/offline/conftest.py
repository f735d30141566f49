from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic

from aar.researcher.offline.launch import offline_server


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[AsyncAnthropic]:
    """The real SDK against the real server in its own process."""
    async with offline_server(seed=3) as base_url, AsyncAnthropic(base_url=base_url, api_key="none") as client:
        yield client
