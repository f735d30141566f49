import re
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Terminal


def test_a_person_posts_and_comments(writable: Terminal) -> None:
    assert "posted #6 in k3v9qd as human:ana" in writable.ok(
        "forum", "post", "Try fewer components", "Does 5 do?", "--kind", "question", "--as", "ana"
    )
    assert "commented on #6" in writable.ok("forum", "comment", "6", "-", "--as", "ana", input="And 3?\n")
    thread = writable.json("forum", "show", "6")
    assert (thread["post"]["by_human"], thread["post"]["kind"]) == (True, "question")
    assert thread["comments"][0]["body"].strip() == "And 3?"
    kinds = writable.ok("events", "-n", "2", "--json")
    assert "post_created" in kinds
    assert "comment_created" in kinds


def test_the_body_comes_from_standard_input(writable: Terminal) -> None:
    writable.ok("forum", "post", "Long words", "--as", "ana", input="line one\nline two\n")
    assert "line one\nline two" in writable.json("forum", "show", "6")["post"]["body"]


def test_figures_stand_where_the_text_shows_them_or_at_its_end(writable: Terminal, tmp_path: Path) -> None:
    plot, second = tmp_path / "loss [1].png", tmp_path / "b.gif"
    Image.new("RGB", (9, 4), (1, 2, 3)).save(plot)
    Image.new("L", (5, 5), 7).save(second)
    writable.ok(
        "forum", "post", "Plots", f"See ![b]({second}).", "--figure", str(plot), "--figure", str(second), "--as", "ana"
    )
    writable.ok("forum", "comment", "6", "The same:", "--figure", str(plot), "--as", "ana")
    thread = writable.json("forum", "show", "6")
    shown = re.fullmatch(
        r"See !\[b\]\(figure:[0-9a-f]{12}\)\.\n\n!\[loss  1 \]\((figure:[0-9a-f]{12})\)\n", thread["post"]["body"]
    )
    assert shown is not None
    assert f"![loss  1 ]({shown[1]})" in thread["comments"][0]["body"]
    no_image = tmp_path / "page.png"
    no_image.write_text("<svg/>")
    for path, told in ((no_image, "it is not a PNG, JPEG, GIF or WebP image"), (tmp_path / "none.png", "No such file")):
        result = writable.run("forum", "post", "Plots", "words", "--figure", str(path), "--as", "ana")
        assert result.exit_code == 2
        assert told in result.stderr
        assert path.name in result.stderr
    assert len(writable.json("forum", "list")) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forum", "post", "A title", ""], "the body is empty"),
        (["forum", "post", "x" * 300, "body"], "the title has 300 characters"),
        (["forum", "post", "A title", "body", "--kind", "gossip"], "unknown post kind 'gossip'"),
        (["forum", "post", "A title", "body", "--as", "human:\x1b[31m"], "author name is not valid"),
        (["forum", "comment", "77", "hello"], "no post #77"),
    ],
)
def test_nothing_is_stored_of_a_refused_text(writable: Terminal, arguments: list[str], message: str) -> None:
    result = writable.run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "\x1b" not in result.stderr
    assert len(writable.json("forum", "list")) == 5


def test_pause_and_stop_without_a_controller_take_effect_at_once(writable: Terminal) -> None:
    assert "k3v9qd is paused now; no controller was running it" in writable.ok("pause", "--reason", "lunch")
    paused = writable.json("status")
    assert (paused["state"], paused["cause"].endswith(": lunch")) == ("paused", True)
    assert "Resume with: aar resume k3v9qd" in writable.ok("status")
    assert "is finished now" in writable.ok("stop")
    again = writable.run("stop")
    assert again.exit_code == 1
    assert "error: campaign k3v9qd is finished already" in again.stderr
    over = writable.run("resume")
    assert over.exit_code == 1
    assert "→ Start a new one with: aar start" in over.stderr


def test_steering_without_a_controller_is_noted_for_the_next_start(writable: Terminal) -> None:
    assert "r2 reads it at its first turn after the next start" in writable.ok("message", "r2", "Look again.")
    assert "every researcher reads it" in writable.ok("message", "all", input="From a pipe.\n")
    assert "r3 has a new direction" in writable.ok("redirect", "r3", "Permute the labels.", "--as", "ana")
    assert "r2 pauses: noted for the next start" in writable.ok("pause", "--researcher", "r2", "--reason", "lunch")
    assert "r2 goes on: noted" in writable.ok("resume", "--researcher", "r2")
    assert "usd 20, hours none, from its next start on" in writable.ok("limits", "--usd", "$20", "--hours", "none")
    assert "r5  " in writable.ok("team", "add", "--count", "1")
    assert "r5 leaves the team: noted" in writable.ok("team", "remove", "r5")
    assert "r1 stops for good: noted" in writable.ok("stop", "--researcher", "r1")
    by = {line.split(" asked: ")[0] for line in writable.ok("events").splitlines() if " asked: " in line}
    assert any(each.endswith("human:ana") for each in by)
    for arguments, says in (
        (("message", "r9", "x"), "no researcher r9"),
        (("limits",), "no limit was given"),
        (("team", "add", "--direction", "nowhere"), "unknown direction nowhere"),
    ):
        refused = writable.run(*arguments)
        assert refused.exit_code == 2
        assert says in refused.output
