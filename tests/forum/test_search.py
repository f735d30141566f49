"""Search with filters, and near-duplicates, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from aar.errors import UsageError
from aar.forum.authors import Author
from aar.forum.edits import retract
from aar.forum.posts import create_comment
from aar.forum.search import (
    PostFilter,
    SimilarPost,
    duplicate_warning,
    full_text_search,
    list_posts,
    similar_posts,
    similar_to_post,
    split_words,
)
from aar.forum.views import PostView
from aar.store import Database, open_database
from aar.store.models import Submission
from aar.testing.conformance.store_suite import OLD_CAMPAIGN, write_old_database

Authors = dict[str, Author]
Post = Callable[..., PostView]
CAMPAIGN = "k3v9qd"
EVERYTHING = PostFilter()
both = pytest.mark.parametrize("db", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
SAID = (
    "Weighting each weak label by the agreement of four probes raised the recovered gap from 0.41 to 0.58 over five "
    "seeds; the gain vanishes once probes share a layer, which suggests that disagreement carries the signal."
)
AGAIN = (
    "Over five seeds the recovered gap went from 0.41 to 0.58 after weighting every weak label by the agreement of "
    "four probes. Once the probes share a layer the gain vanishes: disagreement carries the signal, it seems."
)
OTHER = (
    "Distilling the probes into one linear head keeps the accuracy of the ensemble, at a tenth of the memory. Weak "
    "labels were left as they are; next comes a sweep over temperatures, with the same five seeds."
)


def ids(db: Database, query: str, only: PostFilter = EVERYTHING, **paging: int) -> list[int]:
    with db.reading() as session:
        return [each.id for each in full_text_search(session, CAMPAIGN, query, only=only, **paging)]


def newest(db: Database, only: PostFilter = EVERYTHING, **paging: int) -> list[int]:
    with db.reading() as session:
        found = list_posts(session, CAMPAIGN, only=only, **{"newest_first": True, **paging})  # type: ignore[arg-type]
        return [each.id for each in found]


def hand_in(db: Database) -> None:
    with db.writing() as session:
        session.add(
            Submission(
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r1",
                number=7,
                digest=f"{7:064d}",
                title="t",
                claim="c",
                state="measured",
                status="measured",
            )
        )


@both
def test_filters_narrow_what_is_found(db: Database, post: Post, authors: Authors) -> None:
    hand_in(db)
    first = post("r1", kind="result", title="probes agree", body="entropy of probes", submission_number=7)
    second = post("r2", kind="question", title="why do probes agree?", body="see s7")
    third = post("ana", kind="insight", title="probes", body="a person's word")
    assert set(ids(db, "probes")) == {first.id, second.id, third.id}
    assert ids(db, "probes", PostFilter(kind="question")) == [second.id]
    assert (
        ids(db, "probes", PostFilter(author="ana")) == ids(db, "probes", PostFilter(author="human:ana")) == [third.id]
    )
    assert set(ids(db, "probes", PostFilter(submission=7))) == {first.id, second.id}
    assert set(ids(db, "probes", PostFilter(since=second.created_at))) == {second.id, third.id}
    assert ids(db, "probes", PostFilter(until=second.created_at)) == [first.id]
    assert ids(db, "probes", PostFilter(since=third.created_at + timedelta(seconds=1))) == []
    with pytest.raises(UsageError, match="unknown post kind"):
        ids(db, "probes", PostFilter(kind="rumour"))


@both
def test_without_words_filters_narrow_and_pages_go_back_from_the_newest(
    db: Database, post: Post, authors: Authors
) -> None:
    hand_in(db)
    about = post("r1", kind="result", title="one", submission_number=7)
    citing = post("r2", kind="question", title="two", body="see s7")
    person = post("ana", kind="insight", title="three")
    gone = post("r1", kind="result", title="four")
    db.write_now(lambda session: retract(session, CAMPAIGN, authors["r1"], gone.id, "a bug"))
    assert newest(db) == [person.id, citing.id, about.id]
    assert newest(db, PostFilter(retracted=True)) == [gone.id, person.id, citing.id, about.id]
    assert newest(db, limit=2) == [person.id, citing.id]
    assert newest(db, limit=2, after=citing.id) == [about.id]
    assert newest(db, PostFilter(author="ana")) == [person.id]
    assert newest(db, PostFilter(author="r1")) == [about.id]
    assert newest(db, PostFilter(kind="question")) == [citing.id]
    assert newest(db, PostFilter(submission=7)) == [citing.id, about.id]
    assert newest(db, PostFilter(submission=7), after=citing.id) == [about.id]
    assert newest(db, PostFilter(submission=7), newest_first=False) == [about.id, citing.id]
    assert newest(db, PostFilter(submission=7), newest_first=False, after=about.id) == [citing.id]
    mine = PostFilter(researcher_id=about.researcher_id, submission=7)
    assert newest(db, mine) == [each.id for each in (citing, about) if each.researcher_id == about.researcher_id]
    assert newest(db, PostFilter(since=citing.created_at, until=gone.created_at)) == [person.id, citing.id]
    with pytest.raises(UsageError, match="unknown post kind"):
        newest(db, PostFilter(kind="rumour"))


@both
def test_pages_follow_each_other_and_what_is_retracted_counts_only_when_asked(
    db: Database, post: Post, authors: Authors
) -> None:
    written = [post("r1", title=f"finding {number}", body="about calibration") for number in range(5)]
    whole = ids(db, "calibration")
    assert sorted(whole) == [each.id for each in written]
    assert [*ids(db, "calibration", limit=2), *ids(db, "calibration", limit=2, skip=2)] == whole[:4]
    assert ids(db, "calibration", limit=2, skip=4) == whole[4:]
    assert ids(db, "calibration", limit=2, skip=6) == []
    own = db.write_now(lambda session: create_comment(session, CAMPAIGN, authors["r2"], written[0].id, "only a mirage"))
    assert ids(db, "mirage") == [written[0].id]

    def take_back(comment: int | None) -> None:
        author = authors["r1" if comment is None else "r2"]
        db.write_now(
            lambda session: retract(session, CAMPAIGN, author, written[0].id, "wrong data", comment_id=comment)
        )

    take_back(own.id)
    assert ids(db, "mirage") == []
    assert ids(db, "mirage", PostFilter(retracted=True)) == [written[0].id]
    take_back(None)
    assert written[0].id not in ids(db, "calibration")
    assert written[0].id in ids(db, "calibration", PostFilter(retracted=True))


@both
def test_what_was_said_before_is_noticed_and_what_is_new_is_not(db: Database, post: Post, authors: Authors) -> None:
    first = post("r1", title="Agreement of probes as weights", body=SAID)
    post("r2", title="A linear head instead of an ensemble", body=OTHER)

    def near(title: str, body: str) -> list[SimilarPost]:
        with db.reading() as session:
            return similar_posts(session, CAMPAIGN, title, body)

    found = near("Probe agreement as label weights", AGAIN)
    assert [each.id for each in found] == [first.id]
    assert 0.6 <= found[0].similarity < 1
    assert f"#{first.id} by r1" in duplicate_warning(found)
    assert near("Agreement of probes as weights", SAID)[0].similarity == 1
    assert near("Temperature sweep", "Four temperatures on the same seeds: none of them changes the accuracy.") == []
    with db.reading() as session:
        assert similar_to_post(session, CAMPAIGN, first.id) == []
        assert similar_posts(session, "other2", "Agreement of probes as weights", SAID) == []
    db.write_now(lambda session: retract(session, CAMPAIGN, authors["r1"], first.id, "a bug"))
    assert near("Probe agreement as label weights", AGAIN) == []


WORDS = {
    "data_loader.py": "The file data_loader.py reads one column.",
    "train_step.py": "Run train_step.py before the sweep.",
    "train_step": "Run train_step.py before the sweep.",
    "step.py": "Run train_step.py before the sweep.",
    "/workspace/lab/features.py": "See /workspace/lab/features.py for the columns.",
    "lab/features": "See /workspace/lab/features.py for the columns.",
    "0.97": "Ended at 0.97 of the ceiling.",
    ".97": "Ended at 0.97 of the ceiling.",
    "0.41-0.58": "A range of 0.41-0.58 over splits.",
    "0.41": "A range of 0.41\u20130.58 over seeds.",
    "v1.5": "Since release v1.5 it is stable.",
    "2.0.1": "Tried with numpy==2.0.1 alone.",
    "numpy==2.0.1": "Tried with numpy==2.0.1 alone.",
    "tokens/s": "About 310 tokens/s on one core.",
    "310 tokens": "About 310 tokens/s on one core.",
    "https://arxiv.org/abs/2312.09390": "After https://arxiv.org/abs/2312.09390 section three.",
    "arxiv.org": "After https://arxiv.org/abs/2312.09390 section three.",
    "2312.09390": "After https://arxiv.org/abs/2312.09390 section three.",
    "weak-to-strong": "A weak-to-strong run without a teacher.",
    "strong run": "A weak-to-strong run without a teacher.",
    "weak_to_strong": "Module weak_to_strong holds it.",
    "C++": "Written in C++ once.",
    "lr=1e-3": "With lr=1e-3 and momentum.",
    "1e-3": "With lr=1e-3 and momentum.",
    "naive": "The na\u00efve average wins.",
    "na\u00efve": "The na\u00efve average wins.",
    "nai\u0308ve": "The na\u00efve average wins.",
    "Poincare": "A Poincare\u0301 map of both.",
    "s7/s12": "Compared s7/s12 by hand.",
    "s12": "Compared s7/s12 by hand.",
    "it's": "It's what \u201cprobes\u201d see.",
    "\u201cprobes\u201d": "It's what \u201cprobes\u201d see.",
    "don't": "Probes don't agree there.",
    "k=10,seed=3": "Cell k=10,seed=3 is empty.",
    "50%": "Noise of 50% flips half.",
    "a\u2192b": "Order a\u2192b matters.",
    "ana@lab.example": "Ask ana@lab.example for it.",
    "Wx+b": "The head is Wx+b alone.",
}


@both
def test_words_are_cut_alike_on_both_databases(db: Database, post: Post) -> None:
    """File names, numbers, versions, rates, addresses, accents: each query finds the posts with all its pieces."""
    posts = {body: post(body=body, title="note").id for body in dict.fromkeys(WORDS.values())}
    pieces = {body: {word.lower() for word in split_words(body)} for body in posts}
    for query, body in WORDS.items():
        asked = {word.lower() for word in split_words(query)}
        holding = {posts[other] for other in posts if pieces[other] >= asked}
        assert posts[body] in holding, query
        assert set(ids(db, query)) == holding, query


@both
def test_posts_that_name_a_submission_beside_another_are_found_by_it(db: Database, post: Post) -> None:
    named = [post(body=body).id for body in ("Compared s7/s12.", "See (s12).", "s12's head", "s12.run", "s12_again")]
    post(body="s120 and s1 and 12")
    assert newest(db, PostFilter(submission=12)) == named[::-1]


@both
def test_a_near_duplicate_with_file_names_and_accents_is_found(db: Database, post: Post) -> None:
    said = "data_loader.py/feature_builder.py: na\u00efve normalisation/standardisation raises transfer_accuracy=0.58."
    first = post(title="found", body=said)
    with db.reading() as session:
        assert [each.id for each in similar_posts(session, CAMPAIGN, "found", said)] == [first.id]


@pytest.mark.postgres
def test_what_was_written_before_is_cut_anew(postgres_url: str) -> None:
    write_old_database(postgres_url, "0010")
    before = Database(postgres_url)
    with before.engine.execution_options(aar_write=True).begin() as connection:
        connection.exec_driver_sql("UPDATE post SET body = 'in train_step.py at 0.97, s7/s12'")
    before.close()
    opened = open_database(postgres_url)
    with opened.reading() as session:
        assert all(full_text_search(session, OLD_CAMPAIGN, query) for query in ("train_step", "0.97", "s12"))
    opened.close()
