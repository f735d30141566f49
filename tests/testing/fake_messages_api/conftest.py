"""The SDK's own client on a double that is served over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from aar.testing.fake_messages_api import FakeMessagesApi, serve_app

Talking = Callable[..., AbstractAsyncContextManager[tuple[AsyncAnthropic, FakeMessagesApi]]]


@contextlib.asynccontextmanager
async def _talk(model: Any, *, key: str = "sk-test", timeout: float = 30.0, **options: Any) -> AsyncIterator[Any]:
    double = model if isinstance(model, FakeMessagesApi) else FakeMessagesApi(model, **options)
    async with (
        serve_app(double) as base_url,
        AsyncAnthropic(
            base_url=base_url,
            api_key=key,
            max_retries=0,
            timeout=timeout,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client,
    ):
        yield client, double


@pytest.fixture
def talking() -> Talking:
    """``async with talking(model, **options) as (client, double)``."""
    return _talk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
