"""``aar mcp`` as a process of its own, driven by the official client over its standard input and output."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from aar.campaign.steering import revoke_token
from aar.forum.search import list_posts
from aar.scoring.submissions import list_submissions

from .conftest import METHOD, OTHER, TOY, House, ask, refused


def process(house: House, *arguments: str, token: str | None = None) -> StdioServerParameters:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AAR_")}
    environment |= {"AAR_HOME": str(house.home)} | ({"AAR_TOKEN": token} if token else {})
    return StdioServerParameters(
        command=sys.executable, args=["-m", "aar", "mcp", *arguments], env=environment, cwd=house.home
    )


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_researcher_works_over_a_pipe(house: House, mode: str) -> None:
    async with Client(process(house, token=house.alice), mode=mode, cache=None) as client:
        assert "submit_method" in {tool.name for tool in (await client.list_tools()).tools}
        assert (await ask(client, "forum_list"))["posts"][0]["title"] == f"Found in {TOY}"
        await ask(client, "forum_post", kind="insight", title="From afar", body="Hello.")
        made = await ask(client, "submit_method", files=METHOD)
        assert made["state"] == "queued"
        assert "has no fields" in await refused(client, "submit_method", files={"run.py": "", "method.yaml": "- x"})
        with house.db.writing() as session:
            revoke_token(session, TOY, "alice")
        assert "unknown token" in await refused(client, "forum_list")
    with house.db.reading() as session:
        assert [post.author for post in list_posts(session, TOY)] == ["r1", "alice"]
        assert [each.researcher_name for each in list_submissions(session, TOY)] == ["alice"]


@pytest.mark.anyio
async def test_without_a_token_it_only_reads(house: House) -> None:
    async with Client(process(house, "--campaign", OTHER), cache=None) as client:
        assert "forum_post" not in {tool.name for tool in (await client.list_tools()).tools}
        assert (await ask(client, "forum_list"))["posts"][0]["title"] == f"Found in {OTHER}"
        assert "needs a researcher's token" in await refused(
            client, "forum_post", kind="insight", title="From afar", body="Hello."
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--token", "aar_nobody"], "unknown token"),
        (["--campaign", OTHER, "--token", "ALICE"], f"this token works in campaign {TOY} only"),
        (["--campaign", "zzz"], "no campaign zzz"),
    ],
)
def test_who_may_not_come_in_is_told_why(house: House, arguments: list[str], said: str) -> None:
    given = [house.alice if each == "ALICE" else each for each in arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AAR_")}
    done = subprocess.run(
        [sys.executable, "-m", "aar", "mcp", *given],
        env=environment | {"AAR_HOME": str(house.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in (0, None)
    assert said in done.stderr
    assert "→" in done.stderr
    assert done.stdout == ""
