"""Claude Code itself joins a campaign: its real command-line program, against a double of the Messages API.

The extra ``agent-sdk`` brings the program along; without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="the extra agent-sdk (Claude Code) is not installed")

import claude_agent_sdk

from aar.forum.search import list_posts
from aar.testing.fake_messages_api import transport
from aar.testing.fake_messages_api.app import FakeMessagesApi, ServerRules
from aar.testing.fake_messages_api.replies import ModelReply, text_block, tool_use_block
from aar.testing.fake_messages_api.request import MessagesRequest

from .conftest import METHOD, TOY, House

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PROGRAM = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


def quiet(home: Path) -> dict[str, str]:
    """An environment in which the program knows nothing of this machine and calls nobody."""
    return {
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "ANTHROPIC_API_KEY": "no-key",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",  # else even `claude mcp get` asks Anthropic, again and again
        "AAR_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
    }


def play(request: MessagesRequest) -> ModelReply:
    """A model that posts, then hands a method in, then says what it got back."""
    results = [
        block
        for message in request.body["messages"]
        for block in (message["content"] if isinstance(message["content"], list) else [])
        if block.get("type") == "tool_result"
    ]
    if not results:
        return ModelReply(
            [tool_use_block("mcp__aar__forum_post", kind="insight", title="From Claude Code", body="Hello.")]
        )
    if len(results) == 1:
        return ModelReply([tool_use_block("mcp__aar__submit_method", files=METHOD)])
    return ModelReply([text_block(str(results[-1]["content"]))])


async def test_claude_code_posts_and_hands_in(house: House) -> None:
    double = FakeMessagesApi(
        play, rules=ServerRules(strict=False)
    )  # it uses fields that are newer than the installed SDK's types
    async with house.served() as address, transport.serve_app(double) as messages:
        options = claude_agent_sdk.ClaudeAgentOptions(
            mcp_servers={
                "aar": {
                    "type": "http",
                    "url": f"{address}/mcp",
                    "headers": {"Authorization": f"Bearer {house.alice}"},
                }
            },
            tools=[],
            allowed_tools=["mcp__aar"],
            strict_mcp_config=True,
            setting_sources=[],
            max_turns=6,
            model="claude-sonnet-5-5",
            cwd=house.home,
            env=quiet(house.home) | {"ANTHROPIC_BASE_URL": messages},
        )
        said: list[Any] = [message async for message in claude_agent_sdk.query(prompt="Join in.", options=options)]
    assert said[0].data["mcp_servers"][0]["status"] == "connected"
    assert said[-1].subtype == "success"
    assert '"s1"' in said[-1].result
    with house.db.reading() as session:
        assert [post.author for post in list_posts(session, TOY)] == ["r1", "alice"]


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_the_command_that_invite_prints_connects(house: House, way: str) -> None:
    """Word for word, with nothing but the program's name and the server's address put in."""
    from aar.cli.mcp import connection_commands

    async with house.served() as address:
        printed = connection_commands(f"{address}/mcp", house.alice, home=str(house.home))[way]
        words = shlex.split(printed)
        assert words[0] == "claude"
        environment = os.environ | quiet(house.home) | {"PATH": f"{_bin()}:{os.environ['PATH']}"}
        environment.pop("AAR_HOME")

        async def run(*arguments: str) -> str:
            process = await asyncio.create_subprocess_exec(
                PROGRAM,
                *arguments,
                cwd=house.home,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
            assert process.returncode == 0, out.decode()
            return out.decode()

        await run(*words[1:])
        assert "Connected" in await run("mcp", "get", "aar")


def _bin() -> Path:
    """Where ``aar`` lies."""
    return Path(sys.executable).parent
