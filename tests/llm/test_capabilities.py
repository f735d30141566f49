"""What a model's name says of it."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from aar.errors import KeyRefused
from aar.llm.capabilities import NO_CAPABILITIES, capabilities_by_name
from aar.llm.gateway import Gateway
from aar.testing.fake_messages_api import FakeMessagesApi, ServerRules, serve_app

from .test_aiohttp_transport import answering, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("model", "clears", "late"),
    [
        ("claude-sonnet-5-5", True, True),
        ("claude-opus-4-6", True, True),
        ("claude-opus-4-5-20251101", True, False),
        ("claude-sonnet-4-20250514", True, False),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", True, False),
        ("claude-opus-4-8@20260501", True, True),
        ("claude-3-5-haiku-20241022", False, False),
    ],
)
def test_generations(model: str, clears: bool, late: bool) -> None:
    able = capabilities_by_name(model)
    assert (able.clear_tool_uses, able.compaction, able.adaptive_thinking) == (clears, late, late)


def test_nothing_is_known_of_other_names() -> None:
    assert capabilities_by_name("llama-9") == NO_CAPABILITIES


@pytest.mark.anyio
async def test_the_service_is_asked_and_what_it_does_not_know_is_plain() -> None:
    rules = ServerRules(models={"claude-opus-5-5", "claude-sonnet-4-5"}, keys={"sk-right"})
    async with serve_app(FakeMessagesApi([], rules=rules)) as url:
        gateway = Gateway(url, SecretStr("sk-right"))
        newest = await gateway.capabilities("claude-opus-5-5")
        assert (newest.adaptive_thinking, newest.compaction, newest.images) == (True, True, True)
        older = await gateway.capabilities("claude-sonnet-4-5")
        assert (older.adaptive_thinking, older.compaction, older.clear_tool_uses) == (False, False, True)
        assert await gateway.capabilities("mistral-9") == NO_CAPABILITIES
        await gateway.close()
        stranger = Gateway(url, SecretStr("sk-wrong"))
        with pytest.raises(KeyRefused) as caught:
            await stranger.capabilities("claude-opus-5-5")
        await stranger.close()
    assert "sk-wrong" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        b"<html>any page</html>",
        b"",
        b"{",
        b"[1]",
        b"null",
        b'{"capabilities": {}, "max_tokens": "many"}',
        b'{"capabilities": {"thinking": true, "image_input": "yes"}, "max_tokens": -5}',
        b'{"capabilities": {"thinking": {"types": null}, "context_management": null}}',
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
async def test_what_an_odd_answer_does_not_tell_cannot_be_done(answer: bytes, kind: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(answer)}\r\n\r\n".encode()
    async with serving(answering(head + answer)) as url:
        gateway = Gateway(url, SecretStr("sk-any"))
        assert await gateway.capabilities("m") == NO_CAPABILITIES
        await gateway.close()
