"""The conformance suite of databases, passed by SQLite and PostgreSQL alike.

Use it for another server or version::

    class TestOurDatabase(StoreSuite):
        @pytest.fixture
        def database_url(self) -> str:
            return "postgresql+psycopg://..."  # a fresh, empty database for each test

An older schema's rows must stay, and append-only rows must never change.
"""

# ruff: noqa: S608 - every name in a statement is a constant of this file

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

import aar.store
from aar.errors import DatabaseError, NotFound, UsageError
from aar.events import CampaignPaused
from aar.forum.authors import Author
from aar.forum.figures import find_figure, inspect_figure, store_figure
from aar.forum.posts import cast_vote, create_comment, create_post, get_thread
from aar.forum.search import full_text_search, list_posts
from aar.redteam.campaign_rows import add_campaign
from aar.scoring.submissions import get_submission
from aar.store import Database, event_log, open_database
from aar.store.models import AuditFinding, Base, Campaign, EventRecord, LedgerEntry, StatusChange, Submission
from aar.store.schema import HEAD

OLD_CAMPAIGN = "old001"
_AT = "2026-10-05 06:07:08.000000"
_OLD_ROWS = (
    "INSERT INTO campaign (id, name, problem, spec, state, cause, secret, controller, address, sandbox, created_at) "
    f"VALUES ('{OLD_CAMPAIGN}', 'first', 'toy', '{{}}', 'paused', '', '{'7' * 64}', '', '', 'bubblewrap', '{_AT}')",
    'INSERT INTO researcher (id, campaign_id, name, "index", direction_key, direction, family, model, state, cause, '
    f"doing, token_hash, active_seconds) VALUES ('{OLD_CAMPAIGN}-r1', '{OLD_CAMPAIGN}', 'r1', 1, 'trust', 'Which "
    "labels?', "
    "'other', 'offline-search', 'paused', '', '', '', 12.5)",
    "INSERT INTO submission (campaign_id, number, researcher_id, digest, title, claim, families, state, status, "
    f"verdict, mean, standard_error, low, high, by_domain, seeds, created_at) VALUES ('{OLD_CAMPAIGN}', 1, "
    f"'{OLD_CAMPAIGN}-r1', '{'d' * 64}', 'Old code', 'It helps.', "
    "'[\"other\"]', 'measured', 'measured', 's1 measured', "
    f"0.25, 0.02, 0.21, 0.29, '{{}}', 3, '{_AT}')",
    'INSERT INTO scoring_run (submission_id, "index", stage, domain, seed, split_seed, state, verdict, parts, '
    f"seconds, started_at) VALUES (1, 1, 'measure', 'sine', 11, 12, 'scored', '', '{{\"fit\": 0.5}}', 1.5, '{_AT}')",
    "INSERT INTO post (campaign_id, researcher_id, author, kind, title, body, submission_id, score, created_at) "
    f"VALUES ('{OLD_CAMPAIGN}', '{OLD_CAMPAIGN}-r1', 'r1', 'insight', 'kept', 'through the migration', 1, 1, '{_AT}')",
    "INSERT INTO event (campaign_id, researcher_id, kind, at, payload) "
    f"VALUES ('{OLD_CAMPAIGN}', NULL, 'campaign_paused', '{_AT}', "
    f'\'{{"kind": "campaign_paused", "cause": "x"}}\')',
)
_ONLY_GROW = ("event", "status_change", "audit_finding")
CAMPAIGN = "k3v9qd"
_THREADS = 6
_ODD_QUERIES = (
    *("", "   ", '"', "*", "a OR", "NEAR(a b", "title:x", "-x ^y", "a & | !b", "x:*", "'; --", "a_b", "the"),
    *("\x00a", "\ud800 b", "²³", "ﬁ ß", "word " * 2000),
)


def write_old_database(url: str, revision: str = "0001") -> None:
    """Build an old database: an older schema with rows of every kind.

    The rows are those that the program of that time wrote.
    """
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(Path(aar.store.__file__).parent / "migrations").replace("%", "%%"))
    with database.engine.execution_options(aar_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in _OLD_ROWS:
            connection.exec_driver_sql(statement)
    database.close()


class HistorySuite:
    """Tests of migrations and append-only tables, a part of ``StoreSuite``.

    ``StoreSuite`` has the fixtures.
    """

    @pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
    def test_an_older_schema_is_migrated_and_keeps_its_rows(self, database_url: str, revision: str) -> None:
        write_old_database(database_url, revision)
        again = open_database(database_url)
        with again.reading() as session:
            assert session.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
            assert [post.title for post in full_text_search(session, OLD_CAMPAIGN, "migrations")] == ["kept"]
            kept = get_submission(session, OLD_CAMPAIGN, 1)
            assert (kept.id, kept.title, kept.researcher_name, kept.mean, kept.seeds) == (1, "Old code", "r1", 0.25, 3)
            row = session.get_one(Submission, 1)
            identity = "d" * 64 if revision < "0003" else ""  # 0003 fills the column that it adds
            assert (row.identity, row.hypothesis, row.charged_runs, row.disqualified) == (identity, "", 0, "")
            assert session.get_one(Campaign, OLD_CAMPAIGN).problem_version == 1  # under which it was scored
            (post,) = list_posts(session, OLD_CAMPAIGN)
            assert (post.retraction, post.retracted_at, post.edited_at, post.pinned) == ("", None, None, False)
            run = session.execute(text("SELECT stage, seed, split_seed, seconds, check_id FROM scoring_run")).one()
            assert tuple(run) == ("measure", 11, 12, 1.5, None)
            assert [each.payload["cause"] for each in session.query(EventRecord)] == ["x"]
        again.close()

    def test_a_migrated_database_goes_on_and_its_old_events_are_guarded(self, database_url: str) -> None:
        write_old_database(database_url)
        again = open_database(database_url)
        with pytest.raises(DBAPIError, match="never changed"), again.writing() as session:
            session.execute(text("DELETE FROM event"))
        with again.writing() as session:
            add_campaign(session, "new001")
            session.add(EventRecord(campaign_id="new001", kind="campaign_paused", payload={"cause": "y"}))
        with again.reading() as session:
            assert [each.payload["cause"] for each in session.query(EventRecord).order_by(EventRecord.id)] == ["x", "y"]
        again.close()

    @pytest.mark.parametrize("table", _ONLY_GROW)
    def test_rows_that_only_grow_are_neither_changed_nor_removed(self, db: Database, table: str) -> None:
        with db.writing() as session:
            _one_of_each(session)
        before = _rows(db, table)
        assert len(before) == 1
        attempts = [
            f"UPDATE {table} SET campaign_id = campaign_id",
            f"DELETE FROM {table}",
            f"DELETE FROM {table} WHERE id > 0",
            f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}" if db.is_sqlite else f"TRUNCATE {table} CASCADE",
        ]
        for attempt in attempts:
            with pytest.raises(DBAPIError, match=f"rows of {table} are never changed"), db.writing() as session:
                session.execute(text(attempt))
            assert _rows(db, table) == before

    def test_an_object_that_only_grows_is_not_flushed_away(self, db: Database) -> None:
        with db.writing() as session:
            _one_of_each(session)
        with pytest.raises(DBAPIError, match="never changed"), db.writing() as session:
            session.query(StatusChange).one().cause = "another cause"
        with pytest.raises(DBAPIError, match="never changed"), db.writing() as session:
            session.delete(session.query(AuditFinding).one())
        assert "the first score" in _rows(db, "status_change")[0]
        assert len(_rows(db, "audit_finding")) == 1


def _one_of_each(session: Session) -> None:
    add_campaign(session, OLD_CAMPAIGN, researchers=1)
    submission = Submission(
        campaign_id=OLD_CAMPAIGN,
        number=1,
        researcher_id=f"{OLD_CAMPAIGN}-r1",
        digest="d" * 64,
        title="t",
        claim="c",
        state="queued",
    )
    session.add(submission)
    session.flush()
    about = {"campaign_id": OLD_CAMPAIGN, "submission_id": submission.id}
    session.add(EventRecord(campaign_id=OLD_CAMPAIGN, kind="campaign_paused", payload={"cause": "x"}))
    session.add(StatusChange(**about, old="claimed", new="measured", cause="the first score", by="scorer"))
    session.add(AuditFinding(**about, audit="static", verdict="passed", reason="nothing found"))


def _rows(db: Database, table: str) -> list[tuple[object, ...]]:
    with db.reading() as session:
        return [tuple(row) for row in session.execute(text(f"SELECT * FROM {table} ORDER BY id"))]


def _author(index: int) -> Author:
    return Author(f"r{index}", f"{CAMPAIGN}-r{index}")


def _at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(jobs)) as threads:
        return [future.result() for future in [threads.submit(job) for job in jobs]]


class StoreSuite(HistorySuite):
    """Tests of a database. Subclass it and give it the fixture ``database_url``."""

    @pytest.fixture
    def database_url(self) -> str:
        """Return the URL of a fresh, empty database."""
        raise NotImplementedError("give the fixture database_url")

    @pytest.fixture
    def db(self, database_url: str) -> Iterator[Database]:
        """Yield the database, migrated, with one campaign of six researchers."""
        database = open_database(database_url)
        with database.writing() as session:
            add_campaign(session, CAMPAIGN, researchers=_THREADS)
        yield database
        database.close()

    def test_models_and_migrations_agree(self, db: Database) -> None:
        def ours(_object: Any, name: str | None, _kind: str, _reflected: bool, _other: Any) -> bool:
            return not (name and "_search" in name)

        with db.engine.connect() as connection:
            options = {"include_object": ours, "compare_type": True}
            assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []

    def test_opening_again_changes_nothing(self, db: Database, database_url: str) -> None:
        again = open_database(database_url)
        with again.reading() as session:
            assert session.scalar(text("SELECT count(*) FROM researcher")) == _THREADS
        again.close()

    def test_processes_may_create_it_together(self, database_url: str) -> None:
        program = "import sys; from aar.store import open_database; open_database(sys.argv[1]).close()"
        command = [sys.executable, "-c", program, database_url]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        assert [process.communicate()[1] for process in running] == [b"", b"", b""]
        assert [process.returncode for process in running] == [0, 0, 0]

    def test_a_newer_schema_is_refused_by_name(self, db: Database, database_url: str) -> None:
        with db.writing() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9876'"))
        with pytest.raises(DatabaseError, match=f"9876.*{HEAD}") as refusal:
            open_database(database_url)
        assert "Upgrade" in refusal.value.remedy

    def test_dollars_add_up_exactly_and_times_know_their_zone(self, db: Database) -> None:
        moment = datetime(2026, 11, 3, 4, 5, 6, 789012, tzinfo=UTC)
        with db.writing() as session:
            for index in range(10):
                entry = LedgerEntry(
                    request_id=f"q{index}",
                    campaign_id=CAMPAIGN,
                    kind="model",
                    state="settled",
                    reserved_usd=Decimal("0.1"),
                    usd=Decimal("0.1"),
                    created_at=moment,
                )
                session.add(entry)
        with db.reading() as session:
            entries = session.query(LedgerEntry).all()
            assert sum((entry.usd for entry in entries), Decimal(0)) == 1
            assert {entry.created_at for entry in entries} == {moment}

    def test_a_failed_transaction_leaves_no_event(self, db: Database) -> None:
        class Stop(Exception):
            pass

        def post_and_stop(session: Any) -> None:
            create_post(session, CAMPAIGN, _author(1), kind="insight", title="lost", body="lost")
            raise Stop

        with pytest.raises(Stop):
            db.write_now(post_and_stop)
        with db.reading() as session:
            assert event_log.latest_event_id(session, CAMPAIGN) == 0
            assert full_text_search(session, CAMPAIGN, "lost") == []

    def test_events_are_read_by_cursor_researcher_and_kind(self, db: Database) -> None:
        with db.writing() as session:
            ids = [
                event_log.append_event(
                    session, CAMPAIGN, CampaignPaused(cause=str(index)), _author(1 + index % 2).researcher_id
                )
                for index in range(4)
            ]
        assert ids == sorted(ids)
        with db.reading() as session:
            assert [entry.id for entry in event_log.read_events(session, CAMPAIGN, after=ids[1], limit=1)] == [ids[2]]
            assert [
                entry.id for entry in event_log.read_events(session, CAMPAIGN, researcher_id=f"{CAMPAIGN}-r2")
            ] == ids[1::2]
            assert event_log.read_events(session, CAMPAIGN, kinds=["post_created"]) == []
            assert event_log.latest_event_id(session, CAMPAIGN) == ids[-1]

    def test_a_cursor_skips_no_event_of_concurrent_writers(self, db: Database) -> None:
        each, seen = 20, list[int]()

        def write() -> None:
            for _ in range(each):
                db.write_now(lambda session: event_log.append_event(session, CAMPAIGN, CampaignPaused(cause="x")))

        def follow() -> None:
            while len(seen) < each * (_THREADS - 1):
                with db.reading() as session:
                    events = event_log.read_events(session, CAMPAIGN, after=seen[-1] if seen else 0)
                    seen.extend(event.id for event in events)
                    if not events and done:
                        return

        done: list[bool] = []
        with ThreadPoolExecutor(1) as reader:
            following = reader.submit(follow)
            _at_once([write] * (_THREADS - 1))
            done.append(True)
            following.result()
        assert len(seen) == each * (_THREADS - 1)
        assert seen == sorted(set(seen))

    def test_one_key_is_one_post_however_often_it_is_sent(self, db: Database) -> None:
        def send(title: str) -> int:
            return db.write_now(
                lambda session: (
                    create_post(
                        session, CAMPAIGN, _author(1), kind="insight", title=title, body="b", idempotency_key="toolu_1"
                    ).id
                )
            )

        assert len(set(_at_once([lambda: send("t")] * _THREADS))) == 1
        with db.reading() as session:
            assert len(event_log.read_events(session, CAMPAIGN)) == 1

    def test_concurrent_votes_are_all_counted(self, db: Database) -> None:
        with db.writing() as session:
            post = create_post(session, CAMPAIGN, Author("human:ana", None), kind="question", title="t", body="b").id

        def vote(author: Author) -> None:
            for value in (1, -1, 1, 1):
                db.write_now(partial(cast_vote, campaign_id=CAMPAIGN, author=author, post_id=post, value=value))

        _at_once([partial(vote, _author(index)) for index in range(1, _THREADS + 1)])
        with db.reading() as session:
            assert get_thread(session, CAMPAIGN, post).post.score == _THREADS
            assert len(event_log.read_events(session, CAMPAIGN, kinds=["vote_cast"])) == 3 * _THREADS

    def test_search_ranks_finds_stems_and_reads_comments(self, db: Database) -> None:
        with db.writing() as session:
            texts = [("denoised labels", "with neighbours"), ("something", "one denoised label"), ("other", "nothing")]
            posts = [
                create_post(session, CAMPAIGN, _author(1), kind="result", title=title, body=body).id
                for title, body in texts
            ]
            create_comment(session, CAMPAIGN, _author(2), posts[2], "have you tried a zebra?")
            other = add_campaign(session, "other2", researchers=1)
            create_post(session, "other2", Author("r1", other[0]), kind="result", title="zebra", body="elsewhere")
        with db.reading() as session:
            search = {
                query: [post.id for post in full_text_search(session, CAMPAIGN, query)]
                for query in ("label denoising", "zebras", "neighbour zebra", "absent")
            }
        assert search["label denoising"] == posts[:2]
        assert search["zebras"] == [posts[2]]
        assert set(search["neighbour zebra"]) == {posts[0], posts[2]}
        assert search["absent"] == []

    def test_search_takes_any_text(self, db: Database) -> None:
        with db.writing() as session:
            create_post(session, CAMPAIGN, _author(1), kind="result", title="x", body="y")
            for query in _ODD_QUERIES:
                assert isinstance(full_text_search(session, CAMPAIGN, query), list)

    def test_hostile_text_is_stored_visibly(self, db: Database) -> None:
        with db.writing() as session:
            hostile = "a\x00b\x1b[2J\ud800\u202e\r\n; DROP TABLE post; --"
            post = create_post(session, CAMPAIGN, _author(1), kind="error", title=hostile, body=hostile)
            assert get_thread(session, CAMPAIGN, post.id).post.body == ("a␀b␛[2J\\ud800\\u202e\n; DROP TABLE post; --")

    def test_figures_are_stored_once_under_concurrent_writes(self, db: Database) -> None:
        pixel = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
        figure = inspect_figure("dot.gif", pixel)
        brought = [partial(store_figure, campaign_id=CAMPAIGN, author=_author(n), figure=figure) for n in (1, 2, 3)]
        views = _at_once([partial(db.write_now, each) for each in brought])
        assert len(set(views)) == 1
        with db.reading() as session:
            assert find_figure(session, CAMPAIGN, figure.digest[:12]) == (views[0], pixel)

    def test_refusals_store_nothing(self, db: Database) -> None:
        with db.writing() as session:
            with pytest.raises(UsageError, match="20,000"):
                create_post(session, CAMPAIGN, _author(1), kind="result", title="t", body="x" * 20_001)
            with pytest.raises(NotFound):
                create_comment(session, CAMPAIGN, _author(1), 2**70, "b")
        with db.reading() as session:
            assert event_log.latest_event_id(session, CAMPAIGN) == 0
