"""Labels of posts: stored, shown, changed and asked for, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.errors import Forbidden, UsageError
from aar.families import FAMILIES, normalize_family, validate_families
from aar.forum.authors import Author
from aar.forum.change_feed import changes_since
from aar.forum.edits import edit_post, list_revisions, retract
from aar.forum.mirror import ForumMirror
from aar.forum.posts import create_post, get_thread
from aar.forum.search import PostFilter, full_text_search, list_posts
from aar.forum.views import PostView
from aar.store import Database, event_log

Authors = dict[str, Author]
Post = Callable[..., PostView]
CAMPAIGN = "k3v9qd"
both = pytest.mark.parametrize("db", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)


@given(st.sampled_from(FAMILIES), st.sampled_from(" -_"), st.booleans())
def test_a_family_is_known_however_it_is_written(name: str, between: str, loud: bool) -> None:
    word = name.replace("-", between)
    assert normalize_family(f" {word.upper() if loud else word} ") == name


@given(st.text(max_size=80))
def test_any_other_word_is_refused_with_all_that_there_are(word: str) -> None:
    plain = "-".join(word.lower().replace("_", " ").replace("-", " ").split())
    if plain in FAMILIES:
        assert normalize_family(word) == plain
        return
    with pytest.raises(UsageError, match="unknown family") as caught:
        normalize_family(word)
    assert all(name in caught.value.message for name in FAMILIES)


@given(st.lists(st.sampled_from(FAMILIES), max_size=6))
def test_each_is_kept_once_and_the_leading_one_stays_first(words: list[str]) -> None:
    if len(set(words)) > 3:
        with pytest.raises(UsageError, match="at most 3"):
            validate_families(words, 3)
        return
    kept = validate_families(words, 3)
    assert set(kept) == set(words)
    assert len(kept) == len(set(kept))
    assert kept[:1] == words[:1]


@both
def test_labels_are_stored_told_and_asked_for(db: Database, post: Post) -> None:
    plain = post("r1", title="apples")
    mine = post("r1", title="apples again", families=["Self Training", "ensemble", "self-training"])
    other = post("r2", title="pears", families=["other"])
    assert (plain.families, mine.families) == ((), ("self-training", "ensemble"))
    with db.reading() as session:
        assert get_thread(session, CAMPAIGN, mine.id).post == mine
        told = [each.event.model_dump() for each in event_log.read_events(session, CAMPAIGN, kinds=["post_created"])]
        assert [each["families"] for each in told] == [[], ["self-training", "ensemble"], ["other"]]
        for family, found in (("ensemble", [mine.id]), ("self_training", [mine.id]), ("curriculum", [])):
            only = PostFilter(family=family)
            assert [each.id for each in list_posts(session, CAMPAIGN, only=only)] == found
            assert [each.id for each in full_text_search(session, CAMPAIGN, "apples", only=only)] == found
        assert [each.id for each in full_text_search(session, CAMPAIGN, "pears", only=PostFilter(family="other"))] == [
            other.id
        ]
        for look in (
            lambda: list_posts(session, CAMPAIGN, only=PostFilter(family="%")),
            lambda: full_text_search(session, CAMPAIGN, "apples", only=PostFilter(family="ensembel")),
        ):
            with pytest.raises(UsageError, match="unknown family") as caught:
                look()
            assert "evolutionary" in caught.value.message
        assert "did you mean ensemble" in caught.value.message


@both
def test_what_is_no_label_stores_nothing(db: Database, authors: Authors) -> None:
    with db.writing() as session:
        for families in (["magic"], list(FAMILIES[:4]), ['other" OR 1=1']):
            with pytest.raises(UsageError):
                create_post(session, CAMPAIGN, authors["r1"], kind="insight", title="t", body="b", families=families)
        assert list_posts(session, CAMPAIGN) == []


@both
def test_labels_change_without_a_former_version_of_the_words(db: Database, post: Post, authors: Authors) -> None:
    mine = post("r1", families=["other"])
    with db.writing() as session:
        cursor = event_log.latest_event_id(session, CAMPAIGN)
        for _ in range(2):  # the second time nothing changes
            now = edit_post(session, CAMPAIGN, authors["r1"], mine.id, families=["curriculum", "other"])
        assert (now.families, now.edited_at) == (("curriculum", "other"), None)
        assert list_revisions(session, CAMPAIGN, mine.id) == []
        changes = changes_since(session, CAMPAIGN, cursor)
        assert [(each.kind, each.post_id) for each in changes.items] == [("text_edited", mine.id)]
        assert changes.posts == [now]
        kept = edit_post(session, CAMPAIGN, authors["ana"], mine.id, body="Other words.")
        assert (kept.families, len(list_revisions(session, CAMPAIGN, mine.id))) == (now.families, 1)
        assert edit_post(session, CAMPAIGN, authors["r1"], mine.id, families=[]).families == ()
        told = [
            each.event.model_dump()["families"]
            for each in event_log.read_events(session, CAMPAIGN, kinds=["text_edited"])
        ]
        assert told == [["curriculum", "other"], None, []]
        with pytest.raises(Forbidden):
            edit_post(session, CAMPAIGN, authors["r2"], mine.id, families=["other"])
        with pytest.raises(UsageError):
            edit_post(session, CAMPAIGN, authors["r1"], mine.id, families=["magic"])
        retract(session, CAMPAIGN, authors["r1"], mine.id, "No.")
        with pytest.raises(UsageError):
            edit_post(session, CAMPAIGN, authors["r1"], mine.id, families=["other"])


def test_the_file_of_a_post_names_its_labels(db: Database, post: Post, authors: Authors, tmp_path: Path) -> None:
    folder = tmp_path / "forum"
    mirror = ForumMirror(db, CAMPAIGN, folder)
    mine = post("r1", families=["ensemble", "other"])
    post("r1", title="plain")
    anyio.run(mirror.sync)
    [file] = (folder / "posts").glob(f"{mine.id:04d}-*")
    assert "- families: ensemble, other\n" in file.read_text()
    assert [each for each in (folder / "posts").iterdir() if "- families:" in each.read_text()] == [file]
    db.write_now(lambda session: edit_post(session, CAMPAIGN, authors["r1"], mine.id, families=["curriculum"]))
    anyio.run(mirror.sync)
    assert "- families: curriculum\n" in file.read_text()
