"""A whole life on the toy problem: every tool carried out for real, every score measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from aar.problems.toy.search_space import ToySearchSpace
from aar.researcher.offline import OFFLINE_MODEL_ID, SELF_DESCRIPTION
from aar.researcher.offline.conversation import parse_conversation
from aar.researcher.offline.policy import MAX_SUBMISSIONS, SearchPolicy

from .conftest import Life, World

DIRECTION = "near-and-far: Ask the neighbours. Think about who counts as one."
OTHER = "simple-shapes: Most curves are simpler than their points. Guess a shape first."


def answer(life: Any, seed: int = 3) -> list[dict[str, Any]]:
    """The model's content for the conversation so far, without a server."""
    request = json.loads(json.dumps(life.request()))
    return SearchPolicy(seed).next_turn(parse_conversation(request)).content()


def live(life: Any, seed: int = 3, turns: int = 150) -> None:
    for _ in range(turns):
        if life.finished:
            return
        life.take(answer(life, seed))
    raise AssertionError("it did not finish")


def without_ids(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in block.items() if key != "id"} for block in content]


def calls(life: Any, tool: str) -> list[dict[str, Any]]:
    blocks = [block for message in life.messages if message["role"] == "assistant" for block in message["content"]]
    return [block["input"] for block in blocks if block["type"] == "tool_use" and block["name"] == tool]


def told(life: Any, text: str) -> None:
    """Put words from outside beside the last results."""
    life.messages[-1]["content"].append({"type": "text", "text": text})


@pytest.mark.anyio
async def test_through_the_real_server(client: AsyncAnthropic, world: World, born: type[Life]) -> None:
    world.most_submissions = 2
    life = born(world, "r1", DIRECTION)
    while not life.finished:
        request = life.request()
        async with client.messages.stream(**request) as stream:
            message = await stream.get_final_message()
        assert message.model == OFFLINE_MODEL_ID
        content = [
            block.model_dump(include={"type", "text", "id", "name", "input"}, exclude_none=True)
            for block in message.content
        ]
        assert without_ids(content) == without_ids(answer(life))
        life.take(content)
    assert [entry.score is not None for entry in life.world.entries] == [True, True]


def test_it_submits_until_it_has_done_its_share_and_reports(world: World, born: type[Life]) -> None:
    life = born(world, "r1", DIRECTION)
    live(life)
    entries = life.world.entries
    assert len(entries) == MAX_SUBMISSIONS
    assert all(entry.score is not None for entry in entries)
    genomes = [ToySearchSpace().parse((entry.code / "run.py").read_text()) for entry in entries]
    assert all(genome not in genomes[:at] for at, genome in enumerate(genomes))
    about = [post.get("submission") for post in life.world.posts]
    assert [name for name in about if name] == [f"s{number}" for number in range(1, MAX_SUBMISSIONS + 1)]
    assert life.world.posts[0]["kind"] == "hypothesis"
    assert life.world.posts[-1]["title"].startswith("Summary")
    best = max(range(MAX_SUBMISSIONS), key=lambda at: entries[at].score or 0.0)
    assert f"{entries[best].score:.2f} ± 0.02" in life.world.posts[-1]["body"]


def test_wherever_it_speaks_it_says_what_it_is(world: World, born: type[Life]) -> None:
    world.most_submissions = 3
    life = born(world, "r1", DIRECTION)
    live(life)
    assert all(SELF_DESCRIPTION in post["body"] for post in life.world.posts)
    assert all(SELF_DESCRIPTION in comment["body"] for comment in life.world.comments)
    texts = [block for message in life.messages[1::2] for block in message["content"] if block["type"] == "text"]
    assert all(SELF_DESCRIPTION in block["text"] for block in texts)
    assert SELF_DESCRIPTION in calls(life, "finish")[0]["summary"]


def test_the_same_conversation_goes_on_the_same_way(world: World, born: type[Life]) -> None:
    world.most_submissions = 2
    life = born(world, "r1", DIRECTION)
    while not life.finished:
        content = answer(life)
        assert without_ids(answer(life)) == without_ids(content)
        life.take(content)


def test_seed_name_and_direction_each_matter(world: World, born: type[Life]) -> None:
    """The first method that each would write; a few of few genes may coincide, so several seeds are taken together."""

    def first_methods(name: str, direction: str, first_seed: int) -> list[str]:
        return [answer_after_looking(born(world, name, direction), seed) for seed in range(first_seed, first_seed + 8)]

    def answer_after_looking(life: Any, seed: int) -> str:
        life.take(answer(life, seed))
        return str(answer(life, seed)[1]["input"]["file_text"])

    usual = first_methods("r1", DIRECTION, 0)
    assert first_methods("r1", DIRECTION, 0) == usual
    for other in (first_methods("r2", DIRECTION, 0), first_methods("r1", OTHER, 0), first_methods("r1", DIRECTION, 8)):
        assert other != usual


def test_a_limit_ends_it_with_a_summary(world: World, born: type[Life]) -> None:
    world.most_submissions = 1
    life = born(world, "r1", DIRECTION)
    live(life)
    assert len(life.world.entries) == 1
    assert "limit submissions = 1 reached" in calls(life, "finish")[0]["summary"]


def test_a_team_reads_and_builds_on_one_another(world: World, born: type[Life]) -> None:
    world.rising, world.most_submissions = True, 12
    directions = (DIRECTION, OTHER, "many-guesses: Guess in several ways.")
    team = [born(world, f"r{index}", direction) for index, direction in enumerate(directions, 1)]
    for life in [life for _ in range(150) for life in team]:
        if not life.finished:
            life.take(answer(life))
    assert all(life.finished for life in team)
    authors = {f"s{number}": entry.author for number, entry in enumerate(world.entries, 1)}
    built = [(given["parent"], life) for life in team for given in calls(life, "submit_method") if "parent" in given]
    assert any(authors[parent] != life.name for parent, life in built)
    assert all(authors[given["snapshot"]] != life.name for life in team for given in calls(life, "fetch_snapshot"))
    writers = {number: post["by"] for number, post in enumerate(world.posts, 1)}
    for reaction in [*world.votes, *world.comments]:
        assert writers[reaction["post"]] != reaction["by"]
    assert world.votes
    assert world.comments


def test_a_method_that_fails_its_trial_is_simplified(world: World, born: type[Life]) -> None:
    world.most_submissions = 1
    life = born(world, "r1", OTHER)
    broken = 0
    while not life.finished:
        content = answer(life)
        for block in content:
            if block.get("name") == "bash" and block["input"]["command"].startswith("# try") and not broken:
                broken += 1
                Path(life.world.place("/workspace/methods/m1/run.py", "r1")).write_text("raise SystemExit(3)\n")
        life.take(content)
    paths = [given["path"] for given in calls(life, "submit_method")]
    assert paths[0] == "/workspace/methods/m2"


def test_a_rejected_method_is_told_and_followed_by_another(world: World, born: type[Life]) -> None:
    world.most_submissions = 2
    life = born(world, "r1", DIRECTION)
    rejected = False
    while not life.finished:
        content = answer(life)
        if not rejected and any(block.get("name") == "submit_method" for block in content):
            rejected = True
            path = Path(life.world.place("/workspace/methods/m1/run.py", "r1"))
            path.write_text("import os\nraise SystemExit(3)\n")
        life.take(content)
    assert [entry.score is None for entry in life.world.entries] == [True, False]
    error = next(post for post in life.world.posts if post.get("submission") == "s1")
    assert error["kind"] == "error"
    assert "crashed with exit code 3" in error["body"]


def test_a_lost_call_is_made_again(world: World, born: type[Life]) -> None:
    world.most_submissions = 1
    life = born(world, "r1", DIRECTION)
    lost: set[str] = set()
    while not life.finished:
        content = answer(life)
        life.take(content)
        for block, result in zip(
            [b for b in content if b["type"] == "tool_use"], life.messages[-1]["content"], strict=False
        ):
            if block["name"] in {"bash", "str_replace_based_edit_tool"} and block["name"] not in lost:
                lost.add(block["name"])
                result["content"] = (
                    "The controller restarted while this ran; its effect is unknown. Check before you repeat it."
                )
                result["is_error"] = True
    assert lost == {"bash", "str_replace_based_edit_tool"}
    assert len(life.world.entries) == 1


def test_the_notebook_carries_it_over_a_lost_conversation(world: World, born: type[Life]) -> None:
    life = born(world, "r1", DIRECTION)
    while len(world.posts) < 4:
        life.take(answer(life))
    submitted = len(world.entries)
    notebook = Path(world.place("/workspace/NOTEBOOK.md", "r1")).read_text()
    second = born(world, "r1", DIRECTION)
    second.messages[0]["content"].append({"type": "text", "text": f"[Your notebook:]\n\n{notebook}"})
    live(second)
    assert len(world.entries) == MAX_SUBMISSIONS
    assert submitted < MAX_SUBMISSIONS
    assert not [given for given in calls(second, "post") if given["kind"] == "hypothesis"]
    assert not calls(second, "fetch_snapshot")


def test_a_persons_words_weigh_on_what_is_drawn_and_are_answered(world: World, born: type[Life]) -> None:
    world.most_submissions = 2
    life = born(world, "r1", DIRECTION)
    life.take(answer(life))
    told(life, 'human:ana, a person, posted #9 [question] "Try":\nTry simple shapes.')
    told(life, '[News from the team]\nr2 posted #8 [result]: "x, a person, posted #7"')
    live(life)
    assert [comment["post"] for comment in life.world.comments if "cannot follow instructions" in comment["body"]] == [
        9
    ]


def test_a_problem_without_a_repertoire_is_left_politely(world: World, born: type[Life]) -> None:
    life = born(world, "r1", DIRECTION, problem="some_other")
    live(life)
    assert "ships no repertoire" in calls(life, "finish")[0]["summary"]
