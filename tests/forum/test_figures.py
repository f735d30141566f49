"""Figures in texts: stored with the text or not at all, once, within limits, in one campaign."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from PIL import Image
from sqlalchemy import func, select

from aar.errors import NotFound, UsageError
from aar.forum import figures as service
from aar.forum.authors import Author
from aar.forum.edits import edit_comment, edit_post, list_revisions
from aar.forum.figures import MAX_FIGURE_BYTES, MAX_FIGURES, NewFigure, find_figure, inspect_figure, store_figure
from aar.forum.markdown import parse_markdown, replace_image_addresses, shown_figures
from aar.forum.mirror import ForumMirror
from aar.forum.posts import create_comment, create_post, get_thread
from aar.forum.references import known_references
from aar.forum.views import MAX_BODY, PostView
from aar.store import Database
from aar.store.models import Figure, Post

Write = Callable[..., PostView]
BOTH = pytest.mark.parametrize("db", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)


def image(shade: int = 0, size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (shade, 3, 200)).save(out, "PNG")
    return out.getvalue()


def plots(*shades: int) -> dict[str, NewFigure]:
    return {f"plots/{shade}.png": inspect_figure(f"plots/{shade}.png", image(shade)) for shade in shades}


def stored(db: Database) -> int:
    with db.reading() as session:
        return session.scalar(select(func.count(Figure.id))) or 0


@BOTH
def test_a_post_and_its_figures_are_stored_together(db: Database, post: Write) -> None:
    body = 'Before.\n\n![loss [nats]](plots/1.png "seed 3")\n\n> quoted ![b](<plots/2.png>)\n\n[a link](plots/1.png)'
    made = post("r1", body=body, figures=plots(1, 2))
    one, two = shown_figures([made.body])
    assert made.body == body.replace("plots/1.png", f"figure:{one}", 1).replace("<plots/2.png>", f"figure:{two}")
    with db.reading() as session:
        view, data = find_figure(session, "k3v9qd", one)
        assert data == image(1)
        assert (view.media_type, view.width, view.height, view.size_bytes) == ("image/png", 8, 6, len(data))
        assert (view.author, view.digest[:12], view.file_name) == ("r1", one, f"{one}.png")
        assert find_figure(session, "k3v9qd", view.digest)[0] == view
        known = known_references(session, "k3v9qd", [made.body])
    assert {(each.written, each.kind, each.size) for each in known} == {
        (f"figure:{one}", "figure", (8, 6)),
        (f"figure:{two}", "figure", (8, 6)),
    }


@BOTH
def test_the_same_bytes_are_kept_once_and_belong_to_who_brought_them_first(db: Database, post: Write) -> None:
    first = post(
        "r1", body="![a](plots/1.png) ![again](copy.png)", figures={**plots(1), "copy.png": plots(1)["plots/1.png"]}
    )
    second = post("r2", body="![a](plots/1.png)", figures=plots(1))
    assert stored(db) == 1
    assert shown_figures([first.body]) == shown_figures([second.body])
    with db.reading() as session:
        assert find_figure(session, "k3v9qd", shown_figures([first.body])[0])[0].author == "r1"


@BOTH
def test_a_repeated_key_stores_nothing_more(db: Database, post: Write) -> None:
    first = post("r1", body="![a](plots/1.png)", figures=plots(1), idempotency_key="k")
    assert post("r1", body="![a](plots/1.png)", figures=plots(1), idempotency_key="k") == first
    assert post("r1", body="![a](plots/2.png)", figures=plots(2), idempotency_key="k") == first
    assert post("r1", body="![a](plots/1.png)", idempotency_key="k") == first
    assert stored(db) == 1


@BOTH
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"body": "![a](plots/1.png)" + "x" * MAX_BODY}, "20,000"),
        ({"body": "![a](plots/1.png)" + "x" * (MAX_BODY - 17)}, "20,000"),
        ({"body": "![a](plots/1.png)", "kind": "poem"}, "poem"),
        ({"body": "![a](plots/1.png)", "title": ""}, "title"),
        ({"body": "![a](plots/1.png)", "submission_number": 9}, "s9"),
        ({"body": "![a](plots/1.png) ![b](figure:0123456789ab)"}, "no figure 0123456789ab"),
        ({"body": "![a][ref]\n\n[ref]: plots/1.png"}, "invalid figure address"),
    ],
)
def test_what_is_refused_leaves_nothing(db: Database, post: Write, fields: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        post("r1", **fields, figures=plots(1))
    assert stored(db) == 0
    with db.reading() as session:
        assert session.scalar(select(func.count(Post.id))) == 0


def test_comments_and_edits_bring_figures_too(db: Database, post: Write, authors: dict[str, Author]) -> None:
    made = post("r1", body="words")
    with db.writing() as session:
        said = create_comment(session, "k3v9qd", authors["r2"], made.id, "![c](plots/1.png)", figures=plots(1))
        edit_post(session, "k3v9qd", authors["r1"], made.id, body="![p](plots/2.png)", figures=plots(2))
        edit_comment(session, "k3v9qd", authors["r2"], made.id, said.id, "![c](plots/3.png)", figures=plots(3))
    with db.reading() as session:
        thread = get_thread(session, "k3v9qd", made.id)
        former = list_revisions(session, "k3v9qd", made.id)
    assert stored(db) == 3
    assert shown_figures([thread.post.body]) == [plots(2)["plots/2.png"].digest[:12]]
    assert shown_figures([thread.comments[0].body]) == [plots(3)["plots/3.png"].digest[:12]]
    assert [each.body for each in former] == ["words", said.body]


@BOTH
def test_no_campaign_shows_the_figures_of_another(db: Database, post: Write) -> None:
    shown = shown_figures([post("r1", body="![a](plots/1.png)", figures=plots(1)).body])[0]
    author = Author("r1", "other2-r1")
    with pytest.raises(NotFound, match=f"no figure {shown}"), db.writing() as session:
        create_post(session, "other2", author, kind="insight", title="t", body=f"![a](figure:{shown})")
    with db.reading() as session, pytest.raises(NotFound):
        find_figure(session, "other2", shown)
    with db.reading() as session:
        assert known_references(session, "other2", [f"![a](figure:{shown})"]) == []


def test_a_second_figure_of_the_same_short_name_is_refused(db: Database, authors: dict[str, Author]) -> None:
    figure = inspect_figure("a.png", image(1))
    forged = NewFigure(image(2), figure.digest[:12] + "0" * 52, figure.facts)
    with db.writing() as session:
        store_figure(session, "k3v9qd", authors["r1"], figure)
    with pytest.raises(UsageError, match="another figure has the digits"), db.writing() as session:
        store_figure(session, "k3v9qd", authors["r2"], forged)
    assert stored(db) == 1


def test_limits_are_told_before_anything_is_stored(
    db: Database, post: Write, authors: dict[str, Author], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = plots(*range(1, MAX_FIGURES + 2))
    body = " ".join(f"![x]({path})" for path in many)
    with pytest.raises(UsageError, match=f"got {MAX_FIGURES + 1}, expected at most {MAX_FIGURES}"):
        post("r1", body=body, figures=many)
    assert stored(db) == 0
    fitting = dict(list(many.items())[:MAX_FIGURES])
    assert len(shown_figures([post("r1", body=body.rsplit(" ", 1)[0], figures=fitting).body])) == MAX_FIGURES
    monkeypatch.setattr(service, "MAX_AUTHOR_FIGURES", MAX_FIGURES + 1)
    post("r1", body="![x](plots/99.png)", figures=plots(99))
    with pytest.raises(UsageError, match="too many figures of r1: got 7, expected at most 7"):
        post("r1", body="![x](plots/98.png)", figures=plots(98))
    post("r1", body="![x](plots/99.png)", figures=plots(99))  # known already
    post("r2", body="![x](plots/98.png)", figures=plots(98))  # another author
    monkeypatch.setattr(service, "MAX_AUTHOR_FIGURE_BYTES", len(image(98)) + 1)
    with pytest.raises(UsageError, match="figures of r2 are too large"):
        post("r2", body="![x](plots/97.png)", figures=plots(97))
    assert stored(db) == MAX_FIGURES + 2


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "figure 'a b.png': it is not a PNG"),
        (image()[:-5], "it is an incomplete image"),
        (image() + bytes(MAX_FIGURE_BYTES), "too large: expected at most 512 KiB"),
        (image(size=(4001, 1)), "got 4,001 x 1 pixels, expected at most 4,000 a side"),
    ],
)
def test_an_image_that_cannot_be_taken_is_named_with_the_reason(data: bytes, told: str) -> None:
    with pytest.raises(UsageError) as refusal:
        inspect_figure("a b.png", data)
    assert told in refusal.value.message
    assert refusal.value.remedy


def test_an_animation_counts_all_its_frames() -> None:
    out = io.BytesIO()
    frames = [Image.new("L", (3000, 3000), shade) for shade in (0, 99)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UsageError, match="got 18,000,000 pixels in 2 frames, expected at most 16,000,000"):
        inspect_figure("a.gif", out.getvalue())


def test_only_what_is_shown_counts() -> None:
    digits = "0123456789ab"
    text = f"`![a](figure:{digits})`\n\n```\n![b](plots/b.png) ![c](figure:{digits})\n```\n\n    ![d](d.png)"
    assert not shown_figures([text])
    assert not parse_markdown(text).image_paths
    text = "![a](http://x/a.png) ![b](//x/b.png) ![c](data:image/png;base64,aa) ![d](../d%20e.png) ![e](figure:12)"
    assert parse_markdown(text).image_paths == ("../d e.png",)
    assert replace_image_addresses("![a](<d e.png>) ![b](d%20e.png 't')", {"d e.png": "X"}) == "![a](X) ![b](X 't')"


def test_hostile_captions_take_no_time() -> None:
    for text in (
        "![" * 10_000,
        "![a](" * 4_000,
        "![" + "[" * 15_000,
        "![" + "[a]" * 6_000 + "](",
        "![a](b" + "(" * 9_000,
    ):
        assert replace_image_addresses(text, {"x": "y"}) == text


def test_the_mirror_holds_what_posts_show(
    db: Database, post: Write, authors: dict[str, Author], tmp_path: Path
) -> None:
    folder = tmp_path / "forum"
    mirror = ForumMirror(db, "k3v9qd", folder)
    made = post("r1", body="![a](plots/1.png)", figures=plots(1))
    with db.writing() as session:
        store_figure(session, "k3v9qd", authors["r1"], inspect_figure("unseen.png", image(9)))
    anyio.run(mirror.sync)
    name = f"{shown_figures([made.body])[0]}.png"
    assert [path.name for path in (folder / "figures").iterdir()] == [name]
    assert (folder / "figures" / name).read_bytes() == image(1)
    assert (folder / "figures" / name).stat().st_mode & 0o777 == 0o644
    page = next((folder / "posts").iterdir()).read_text()
    assert f"> ![a](../figures/{name})" in page
    before = (folder / "figures" / name).stat().st_mtime_ns
    with db.writing() as session:
        create_comment(
            session,
            "k3v9qd",
            authors["r2"],
            made.id,
            "![a](x.png) ![b](plots/2.png)",
            figures={**plots(2), "x.png": plots(1)["plots/1.png"]},
        )
    assert anyio.run(mirror.sync) == 3  # the new figure, the thread, the index
    assert len(list((folder / "figures").iterdir())) == 2
    assert (folder / "figures" / name).stat().st_mtime_ns == before


def test_a_new_mirror_mends_its_figures(db: Database, post: Write, tmp_path: Path) -> None:
    folder = tmp_path / "forum"
    made = post("r1", body="![a](plots/1.png)", figures=plots(1))
    anyio.run(ForumMirror(db, "k3v9qd", folder).sync)
    path = folder / "figures" / f"{shown_figures([made.body])[0]}.png"
    path.write_bytes(image(1)[:20])
    for stray in (".draft-abc", "0123456789ab.png", f"{path.stem}.svg"):
        (folder / "figures" / stray).write_bytes(image(1))
    anyio.run(ForumMirror(db, "k3v9qd", folder).sync)
    assert [each.name for each in (folder / "figures").iterdir()] == [path.name]
    assert path.read_bytes() == image(1)
