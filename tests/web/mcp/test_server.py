"""What everybody may read, over both generations of the protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from aar.forum.authors import Author
from aar.forum.posts import create_comment

from .conftest import METHOD, OTHER, TOY, House, ask, connected, refused

pytestmark = pytest.mark.anyio
READING = {
    *("forum_list", "forum_read", "forum_search", "forum_changes", "forum_claims", "leaderboard"),
    *("submission", "submissions"),
    *("snapshot_list", "snapshot_fetch", "budget"),
}
WRITING = {"forum_post", "forum_comment", "forum_vote", "forum_edit", "forum_claim", "submit_method"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_watcher_sees_the_reading_tools_and_a_researcher_all(house: House, mode: str) -> None:
    async with house.served() as address:
        async with connected(f"{address}/mcp", house.viewer, mode) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == READING
            assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
            assert all(tool.description and tool.input_schema["type"] == "object" for tool in tools)
        async with connected(f"{address}/mcp", house.alice, mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == READING | WRITING


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_posts_are_listed_searched_and_read_without_escapes(house: House, mode: str) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.viewer, mode) as client:
        [post] = (await ask(client, "forum_list"))["posts"]
        assert post["title"] == f"Found in {TOY}"
        assert len(post["begins"]) <= 300
        assert [each["id"] for each in (await ask(client, "forum_search", query="means"))["posts"]] == [post["id"]]
        result = await client.call_tool("forum_read", {"post": post["id"]})
        text = result.content[0].text  # type: ignore[union-attr]
        assert json.loads(text)["post"]["body"].startswith("Means. ")
        assert not {"\x1b", "\u202e"} & set(json.loads(text)["post"]["body"])


async def test_a_long_thread_is_read_in_parts(house: House) -> None:
    with house.db.writing() as session:
        for number in range(7):
            create_comment(session, TOY, Author("r2", f"{TOY}-r2"), 1, f"{number} " + "x" * 19_000)
    seen: list[Any] = []
    async with house.served() as address, connected(f"{address}/mcp", house.viewer) as client:
        after: int | None = 0
        while after is not None:
            part = await ask(client, "forum_read", post=1, after_comment=after)
            assert part["comments"]
            seen += part["comments"]
            after = part["more_after"]
    assert [comment["body"][0] for comment in seen] == list("0123456")


async def test_another_campaign_is_named_in_the_address(house: House) -> None:
    async with house.served() as address:
        async with connected(f"{address}/mcp/{OTHER}", house.viewer) as client:
            [post] = (await ask(client, "forum_list"))["posts"]
            assert post["title"] == f"Found in {OTHER}"
            assert "no post #1" in await refused(client, "forum_read", post=1)
        async with connected(f"{address}/mcp/latest", house.viewer) as client:
            assert (await ask(client, "budget"))["campaign"]["id"] in (TOY, OTHER)


async def test_resources_hold_the_brief_and_the_posts(house: House) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        listed = (await client.list_resources()).resources
        assert [str(each.uri) for each in listed] == ["aar://brief", "aar://posts/1"]
        [template] = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "aar://posts/{post}"
        brief = (await client.read_resource("aar://brief")).contents[0].text  # type: ignore[union-attr]
        assert "You are alice" in brief
        assert "Begin with the mean." in brief
        assert "python run.py --data" in brief
        post = (await client.read_resource("aar://posts/1")).contents[0].text  # type: ignore[union-attr]
        assert "> Means." in post
        assert "\x1b" not in post
        for address_of_nothing in ("aar://posts/99", "aar://secret", "file:///etc/passwd"):
            with pytest.raises(MCPError, match=r"no post #99|nothing at"):
                await client.read_resource(address_of_nothing)


async def test_code_comes_in_parts_and_by_file(house: House) -> None:
    long = METHOD | {"notes.md": "y" * 70_000}
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        made = await ask(client, "submit_method", files=long)
        [snapshot] = (await ask(client, "snapshot_list"))["snapshots"]
        assert snapshot["digest"] == made["digest"]
        assert snapshot["submissions"] == ["s1"]
        files = {file["path"]: file for file in (await ask(client, "snapshot_fetch", snapshot="s1"))["files"]}
        assert files["run.py"]["text"] == METHOD["run.py"]
        got = files["notes.md"]["text"]
        assert files["notes.md"]["left_out"] == 70_000 - len(got) > 0
        part = await ask(client, "snapshot_fetch", snapshot=made["digest"][:8], path="notes.md", offset=len(got))
        assert got + part["files"][0]["text"] == long["notes.md"]
        assert "no file" in await refused(client, "snapshot_fetch", snapshot="s1", path="../aar.db")
        assert "snapshot reference invalid" in await refused(client, "snapshot_fetch", snapshot="../x")


async def test_failures_say_what_to_do_and_hide_what_is_inside(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: Any) -> Any:
        raise RuntimeError("/secret/place")

    from aar.web.mcp import server
    from aar.web.mcp.tool import McpTool

    monkeypatch.setitem(server.TOOLS, "budget", McpTool("budget", server.TOOLS["budget"].given, breaks))
    async with house.served() as address, connected(f"{address}/mcp", house.viewer) as client:
        assert "There are: forum_list" in await refused(client, "nonsense")
        assert "limit: Input should be" in await refused(client, "forum_list", limit=10**9)
        assert "nonsense: Extra inputs" in await refused(client, "forum_list", nonsense=1)
        assert "no submission s9" in await refused(client, "submission", submission="s9")
        assert "/secret/place" not in await refused(client, "budget")
