"""A researcher's plots go with its posts, and colleagues see them beside the posts."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import replace

import pytest
from PIL import Image

from aar.errors import UsageError
from aar.forum.figures import MAX_FIGURE_BYTES, find_figure
from aar.forum.markdown import shown_figures
from aar.forum.mirror import ForumMirror
from aar.forum.posts import get_thread
from aar.forum.search import list_posts
from aar.llm.capabilities import ModelCapabilities
from aar.researcher.tools.definitions import EDITOR
from aar.sandbox.protocol import Mount

from ..conftest import CAMPAIGN
from .conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]
NEW = {"kind": "result", "title": "A plot"}


def plot(shade: int = 5) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


async def start(bench: Bench) -> None:
    """The sandbox, with one plot in its workspace."""
    await bench.text("bash", command="mkdir plots")
    (bench.workspace / "plots" / "loss.png").write_bytes(plot())


def count(bench: Bench) -> int:
    with bench.ctx.db.reading() as session:
        return len(list_posts(session, CAMPAIGN))


async def test_a_plot_of_the_workspace_goes_with_a_post_a_comment_and_an_edit(bench: Bench) -> None:
    await start(bench)
    (bench.workspace / "my plot.png").write_bytes(plot(9))
    posted = await bench.text(
        "post", **NEW, body="See ![loss](plots/loss.png) and ![the same](/workspace/plots/loss.png)"
    )
    first, *lines = posted.splitlines()
    assert first == "Post #1 created."
    await bench.use("comment", post=1, body="![mine](<my plot.png>)")
    edited = await bench.text("edit_post", post=1, body="Only ![mine](<my plot.png>)")
    with bench.ctx.db.reading() as session:
        thread = get_thread(session, CAMPAIGN, 1)
        [shown] = shown_figures([thread.post.body, thread.comments[0].body])
        assert find_figure(session, CAMPAIGN, shown)[1] == plot(9)
        former = lines[0].partition("figure:")[2]
        assert find_figure(session, CAMPAIGN, former)[1] == plot()
    assert lines == [f"plots/loss.png is figure:{former}", f"/workspace/plots/loss.png is figure:{former}"]
    assert edited == f"Post #1 edited.\nmy plot.png is figure:{shown}"
    assert thread.post.body == f"Only ![mine](figure:{shown})"
    again = await bench.text("post", **NEW, body=f"Once more: ![loss](figure:{former})")
    assert again.splitlines()[0] == "Post #2 created."


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("plots/none.png", "'plots/none.png' does not exist"),
        ("plots", "'plots' is a directory"),
        ("link.png", "'link.png' is outside of the workspace"),
        ("folder/plot.png", "'folder/plot.png' is outside of the workspace"),
        ("../etc/passwd", "'../etc/passwd' is outside of the workspace"),
        ("plots/../../etc/passwd", "is outside of the workspace"),
        ("/proc/self/environ", "is outside of the workspace"),
        ("..%2f..%2fetc%2fpasswd", "is outside of the workspace"),
        ("plots/loss.png%00.jpg", "is not a valid file name"),
        ("svg.png", "'svg.png': it is not a PNG, JPEG, GIF or WebP"),
        ("page.png", "'page.png': it is an incomplete image"),
        ("cut.png", "it is an incomplete image"),
        ("big.png", f"larger than {MAX_FIGURE_BYTES} bytes"),
        ("pipe.png", "cannot be used"),
        ("closed.png", "cannot be read"),
    ],
)
async def test_what_cannot_be_shown_is_named_and_nothing_is_posted(bench: Bench, shown: str, told: str) -> None:
    await start(bench)
    elsewhere = bench.house.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "plot.png").write_bytes(plot())
    for name, content in {
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "page.png": plot()[:8] + b"<!doctype html><script>alert(1)</script>",
        "cut.png": plot()[:-9],
        "big.png": plot() + bytes(MAX_FIGURE_BYTES),
    }.items():
        (bench.workspace / name).write_bytes(content)
    (bench.workspace / "link.png").symlink_to("/etc/passwd")
    (bench.workspace / "folder").symlink_to("/tmp")
    os.mkfifo(bench.workspace / "pipe.png")
    await bench.text("bash", command="cp plots/loss.png /tmp/plot.png; cp plots/loss.png closed.png")
    await bench.text("bash", command="chmod 0 closed.png")
    with pytest.raises(UsageError, match=told) as refusal:
        await bench.use("post", **NEW, body=f"![fine](plots/loss.png) ![a]({shown})")
    assert "nothing was" in refusal.value.message
    assert count(bench) == 0


async def test_a_post_that_a_dead_controller_had_written_needs_no_file_any_more(bench: Bench) -> None:
    await start(bench)
    given = {**NEW, "body": "![loss](plots/loss.png)"}
    await bench.use("post", key="k1", **given)
    (bench.workspace / "plots" / "loss.png").unlink()
    assert (await bench.use("post", key="k1", repeated=True, **given)).text.startswith("Post #1 created.")
    assert count(bench) == 1
    with pytest.raises(UsageError, match="does not exist"):
        await bench.use("post", key="k2", repeated=True, **given)


async def test_a_colleague_looks_at_it_with_the_usual_tool(bench: Bench) -> None:
    folder = bench.house.folder / "forum"
    folder.mkdir()
    bench.keeper.spec = replace(bench.keeper.spec, mounts=[Mount(folder, "/forum")])
    await start(bench)
    await bench.use("post", **NEW, body="![loss](plots/loss.png)")
    await ForumMirror(bench.ctx.db, CAMPAIGN, folder).sync()
    page = await bench.text("bash", command="cat /forum/posts/*.md")
    name = page.partition("](../figures/")[2].partition(")")[0]
    seeing = replace(bench, ctx=replace(bench.ctx, capabilities=ModelCapabilities(images=True)))
    seen = await seeing.use(EDITOR, command="view", path=f"/forum/posts/../figures/{name}")
    assert base64.b64decode(seen.images[0]["source"]["data"]) == plot()
    assert "Read-only" in await bench.text("bash", command=f"rm /forum/figures/{name} 2>&1")
