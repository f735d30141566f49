"""The text editor's documented semantics, on real files."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from aar.errors import UsageError
from aar.llm.capabilities import ModelCapabilities
from aar.researcher.tools.definitions import EDITOR

from .conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


async def edit(bench: Bench, command: str, path: str = "/workspace/f.py", **given: Any) -> str:
    return await bench.text(EDITOR, command=command, path=path, **given)


async def test_create_view_replace_insert(bench: Bench) -> None:
    assert (
        await edit(bench, "create", file_text="a = 1\nb = 2\nc = 3\n")
        == "File created successfully at: /workspace/f.py"
    )
    assert (await edit(bench, "view")).startswith("     1\ta = 1\n     2\tb = 2")
    assert await edit(bench, "view", view_range=(2, 2)) == "     2\tb = 2"
    assert await edit(bench, "view", view_range=(3, -1)) == "     3\tc = 3\n     4\t"
    assert "     2\tb = 22" in await edit(bench, "str_replace", old_str="b = 2", new_str="b = 22")
    await edit(bench, "insert", insert_line=0, insert_text="import x")
    await edit(bench, "insert", insert_line=4, insert_text="d = 4")
    assert (bench.workspace / "f.py").read_text() == "import x\na = 1\nb = 22\nc = 3\nd = 4"


async def test_replacing_by_nothing_deletes_and_relative_paths_start_at_the_workspace(bench: Bench) -> None:
    await edit(bench, "create", "deep/er/g.txt", file_text="one two")
    await edit(bench, "str_replace", "deep/er/g.txt", old_str=" two")
    assert (bench.workspace / "deep/er/g.txt").read_text() == "one"


async def test_create_overwrites(bench: Bench) -> None:
    await edit(bench, "create", file_text="old")
    await edit(bench, "create", file_text="")
    assert (bench.workspace / "f.py").read_text() == ""


async def test_directories_are_listed_two_levels_deep_without_hidden_files(bench: Bench) -> None:
    await bench.text("bash", command="mkdir -p d/e/f .h && touch d/one d/e/two d/e/f/three .h/four")
    listing = await edit(bench, "view", "/workspace")
    assert "/workspace/d/e/" in listing
    assert "/workspace/d/one  (0 bytes)" in listing
    assert "three" not in listing
    assert "four" not in listing


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"command": "view", "path": "/workspace/none"}, "does not exist"),
        ({"command": "str_replace", "old_str": "zzz", "new_str": ""}, "No match found"),
        ({"command": "str_replace", "old_str": "a", "new_str": ""}, r"Found 2 matches .*lines \[1, 2\]"),
        ({"command": "str_replace", "old_str": "", "new_str": "x"}, "old_str is empty"),
        ({"command": "str_replace", "new_str": "x"}, "needs old_str"),
        ({"command": "create"}, "needs file_text"),
        ({"command": "insert", "insert_line": 9, "insert_text": "x"}, "It has 2 lines"),
        ({"command": "insert", "insert_text": "x"}, "needs insert_line"),
        ({"command": "view", "view_range": (2, 9)}, "It has lines 1 to 3"),
        ({"command": "view", "path": "/workspace/raw"}, "not UTF-8"),
        ({"command": "view", "path": "/workspace", "view_range": (1, 2)}, "view_range is for files"),
        ({"command": "create", "path": "/workspace", "file_text": "x"}, "is a directory"),
        ({"command": "create", "path": "/usr/x", "file_text": "x"}, "/usr/x"),
    ],
)
async def test_what_cannot_be_done_is_said(bench: Bench, given: dict[str, Any], told: str) -> None:
    await edit(bench, "create", file_text="a\na\n")
    await bench.text("bash", command=r"printf '\xff\xfe' > raw")
    with pytest.raises(UsageError, match=told):
        await bench.use(EDITOR, **{"path": "/workspace/f.py", **given})


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def seeing(bench: Bench) -> Bench:
    return replace(bench, ctx=replace(bench.ctx, capabilities=ModelCapabilities(images=True)))


async def test_a_plot_is_shown_to_a_model_that_reads_images(bench: Bench) -> None:
    await edit(bench, "create", file_text="")
    (bench.workspace / "plot.png").write_bytes(PNG)
    shown = await seeing(bench).use(EDITOR, command="view", path="/workspace/plot.png")
    source = shown.images[0]["source"]
    assert source["media_type"] == "image/png"
    assert base64.b64decode(source["data"]) == PNG
    with pytest.raises(UsageError, match="not UTF-8"):
        await bench.use(EDITOR, command="view", path="/workspace/plot.png")


@pytest.mark.parametrize(
    ("content", "told"), [(b"not an image", "is not a PNG"), (PNG + bytes(1024 * 1024), "is too large")]
)
async def test_what_is_no_small_image_is_refused(bench: Bench, content: bytes, told: str) -> None:
    await edit(bench, "create", file_text="")
    (bench.workspace / "plot.png").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        await seeing(bench).use(EDITOR, command="view", path="/workspace/plot.png")
