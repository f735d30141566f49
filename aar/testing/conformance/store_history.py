"""Conformance tests of a database's history: old schemas and append-only tables.

An older schema's rows must stay, and append-only rows must never change.
"""

# ruff: noqa: S608 - every name in a statement is a constant of this file

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

import aar.store
from aar.forum.posts import list_posts
from aar.forum.search.full_text import full_text_search
from aar.redteam.campaign_rows import add_campaign
from aar.scoring.submissions import get_submission
from aar.store import Database, open_database
from aar.store.models import AuditFinding, Campaign, EventRecord, StatusChange, Submission
from aar.store.schema import HEAD

CAMPAIGN = "old001"
_AT = "2026-10-05 06:07:08.000000"
_OLD_ROWS = (
    "INSERT INTO campaign (id, name, problem, spec, state, cause, secret, controller, address, sandbox, created_at) "
    f"VALUES ('{CAMPAIGN}', 'first', 'toy', '{{}}', 'paused', '', '{'7' * 64}', '', '', 'bubblewrap', '{_AT}')",
    'INSERT INTO researcher (id, campaign_id, name, "index", direction_key, direction, family, model, state, cause, '
    f"doing, token_hash, active_seconds) VALUES ('{CAMPAIGN}-r1', '{CAMPAIGN}', 'r1', 1, 'trust', 'Which labels?', "
    "'other', 'offline-search', 'paused', '', '', '', 12.5)",
    "INSERT INTO submission (campaign_id, number, researcher_id, digest, title, claim, families, state, status, "
    f"verdict, mean, standard_error, low, high, by_domain, seeds, created_at) VALUES ('{CAMPAIGN}', 1, "
    f"'{CAMPAIGN}-r1', '{'d' * 64}', 'Old code', 'It helps.', '[\"other\"]', 'measured', 'measured', 's1 measured', "
    f"0.25, 0.02, 0.21, 0.29, '{{}}', 3, '{_AT}')",
    'INSERT INTO scoring_run (submission_id, "index", stage, domain, seed, split_seed, state, verdict, parts, '
    f"seconds, started_at) VALUES (1, 1, 'measure', 'sine', 11, 12, 'scored', '', '{{\"fit\": 0.5}}', 1.5, '{_AT}')",
    "INSERT INTO post (campaign_id, researcher_id, author, kind, title, body, submission_id, score, created_at) "
    f"VALUES ('{CAMPAIGN}', '{CAMPAIGN}-r1', 'r1', 'insight', 'kept', 'through the migration', 1, 1, '{_AT}')",
    "INSERT INTO event (campaign_id, researcher_id, kind, at, payload) "
    f"VALUES ('{CAMPAIGN}', NULL, 'campaign_paused', '{_AT}', '{{\"kind\": \"campaign_paused\", \"cause\": \"x\"}}')",
)
_ONLY_GROW = ("event", "status_change", "audit_finding")


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
            assert [post.title for post in full_text_search(session, CAMPAIGN, "migrations")] == ["kept"]
            kept = get_submission(session, CAMPAIGN, 1)
            assert (kept.id, kept.title, kept.researcher_name, kept.mean, kept.seeds) == (1, "Old code", "r1", 0.25, 3)
            row = session.get_one(Submission, 1)
            identity = "d" * 64 if revision < "0003" else ""  # 0003 fills the column that it adds
            assert (row.identity, row.hypothesis, row.charged_runs, row.disqualified) == (identity, "", 0, "")
            assert session.get_one(Campaign, CAMPAIGN).problem_version == 1  # under which it was scored
            (post,) = list_posts(session, CAMPAIGN)
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
    add_campaign(session, CAMPAIGN, researchers=1)
    submission = Submission(
        campaign_id=CAMPAIGN,
        number=1,
        researcher_id=f"{CAMPAIGN}-r1",
        digest="d" * 64,
        title="t",
        claim="c",
        state="queued",
    )
    session.add(submission)
    session.flush()
    about = {"campaign_id": CAMPAIGN, "submission_id": submission.id}
    session.add(EventRecord(campaign_id=CAMPAIGN, kind="campaign_paused", payload={"cause": "x"}))
    session.add(StatusChange(**about, old="claimed", new="measured", cause="the first score", by="scorer"))
    session.add(AuditFinding(**about, audit="static", verdict="passed", reason="nothing found"))


def _rows(db: Database, table: str) -> list[tuple[object, ...]]:
    with db.reading() as session:
        return [tuple(row) for row in session.execute(text(f"SELECT * FROM {table} ORDER BY id"))]
