"""Opening a database: every way it can fail is one line and a remedy."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.orm import Session

import aar.store
from aar.errors import DatabaseError, is_transient
from aar.redteam.campaign_rows import add_campaign
from aar.store import open_database
from aar.store.database import Database
from aar.store.schema import HEAD, migrate


def refused(url: str, *words: str) -> None:
    with pytest.raises(DatabaseError) as refusal:
        open_database(url, busy_seconds=0.1)
    assert "\n" not in str(refusal.value)
    assert refusal.value.remedy
    for word in words:
        assert word in refusal.value.message


def test_the_program_knows_its_newest_migration() -> None:
    migrations = Path(aar.store.__file__).parent / "migrations"
    assert ScriptDirectory(str(migrations)).get_current_head() == HEAD


def test_the_folder_is_made_and_the_pragmas_hold(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path}/deep/er/aar.db")
    with db.reading() as session:
        pragmas = {
            name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    db.close()
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1}


def test_a_new_and_a_current_file_open_without_alembic(sqlite_url: str) -> None:
    program = (
        "import sys; from aar.store import open_database; open_database(sys.argv[1]); print('alembic' in sys.modules)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program, sqlite_url], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_a_new_file_and_a_migrated_one_have_the_same_schema(tmp_path: Path) -> None:
    migrated = Database(f"sqlite:///{tmp_path}/migrated.db")
    with migrated.engine.execution_options(aar_write=True).begin() as connection:
        migrate(connection)
    new = open_database(f"sqlite:///{tmp_path}/new.db")
    assert _schema(new) == _schema(migrated), "Write schema.sql again with: python -m aar.testing.schema_file"
    assert _schema(new)["post"]
    assert _schema(new)["event_no_update"]
    new.close()
    migrated.close()


def _schema(db: Database) -> dict[str, list[object]]:
    """Return by name what SQLite knows of each table, index and trigger, and the version.

    Alembic writes the constraints of a table that it rebuilds in any order.
    """
    with db.reading() as session:
        found: dict[str, list[object]] = {HEAD: list(session.scalars(text("SELECT version_num FROM alembic_version")))}
        for kind, name, sql in session.execute(text("SELECT type, name, sql FROM sqlite_master")).all():
            found[name] = [kind, sorted(re.findall(r"[^\s,()]+|[,()]", sql or ""))]
            for pragma in ("table_xinfo", "index_xinfo"):
                found[name] += [tuple(row) for row in session.execute(text(f"PRAGMA {pragma}('{name}')"))]
            keys = session.execute(text(f"PRAGMA foreign_key_list('{name}')"))
            found[name].append(sorted(tuple(map(str, row[2:])) for row in keys))
    return found


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no database at all, but long enough to look like a file " * 20)
    refused(f"sqlite:///{tmp_path}/x", "is not a readable database")


def test_a_database_of_another_program(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x")
    connection.execute("CREATE TABLE songs (name)")
    connection.close()
    refused(f"sqlite:///{tmp_path}/x", "belongs to another program")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    refused(f"sqlite:///{tmp_path}", "cannot open", str(tmp_path))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(f"sqlite:///{tmp_path}/file/aar.db", "folder")


def test_a_locked_database(sqlite_url: str) -> None:
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("BEGIN IMMEDIATE")
    refused(sqlite_url, "locked")
    holder.close()


def test_a_read_only_database(sqlite_url: str) -> None:
    open_database(sqlite_url).close()
    path = sqlite_url.removeprefix("sqlite:///")
    db = open_database(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(DatabaseError, match="read-only"), db.writing() as session:
        add_campaign(session)
    db.close()


def test_a_full_disk_loses_nothing_that_was_written(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    with db.writing() as session:
        add_campaign(session, "before")

    def fill(session: Session) -> None:
        session.execute(text("PRAGMA max_page_count = 1"))
        for index in range(200):
            add_campaign(session, f"c{index}")

    with pytest.raises(DatabaseError, match="disk full") as refusal:
        db.write_now(fill)
    assert "Free some space" in refusal.value.remedy
    with db.reading() as session:
        assert list(session.scalars(text("SELECT id FROM campaign"))) == ["before"]
    db.close()


def test_a_server_that_does_not_answer() -> None:
    refused("postgresql+psycopg://ana:secret@127.0.0.1:1/aar", "ana:***@127.0.0.1:1")


@pytest.mark.postgres
def test_a_database_that_the_server_lacks(postgres_server: str) -> None:
    refused(postgres_server.replace("/postgres?", "/nowhere?"), "nowhere", "does not exist")


@pytest.mark.postgres
def test_a_server_that_takes_no_writes_for_a_while(postgres_url: str) -> None:
    """As after a change of servers, or where a host does not let a full disk be written to."""
    db = open_database(postgres_url)

    def write(session: Session) -> None:
        session.execute(text("SET TRANSACTION READ ONLY"))
        add_campaign(session)
        session.flush()

    with pytest.raises(DatabaseError, match="read-only") as refusal:
        db.write_now(write)
    assert is_transient(refusal.value)
    db.close()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nonsense", "is invalid"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("mysql://x/y", "mysql"),
        ("oracle+none://x", "oracle"),
        ("sqlite+aiosqlite:///x", "aiosqlite"),
    ],
)
def test_a_url_that_will_not_do(url: str, word: str) -> None:
    refused(url, word)


def test_a_schema_that_nobody_made(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    with db.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'abc'"))
    db.close()
    refused(sqlite_url, "unknown schema 'abc'")


_WRITER = """
import sys
from aar.forum.posts import Author, create_post
from aar.store import open_database

db = open_database(sys.argv[1])
for index in range(10**6):
    def post(session):
        return create_post(
            session, "k3v9qd", Author("r1", "k3v9qd-r1"), kind="insight", title=f"post {index}", body="word " * 400
        ).id
    print(db.write_now(post), flush=True)
"""


def test_a_killed_writer_leaves_a_whole_database(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    with db.writing() as session:
        add_campaign(session)
    acknowledged = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, sqlite_url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(25):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, 9)
        for line in writer.stdout:
            acknowledged = int(line)
        writer.wait()
        writer.stdout.close()
        with db.writing() as session:
            posts = list(session.scalars(text("SELECT id FROM post ORDER BY id")))
            told = list(session.scalars(text("SELECT json_extract(payload, '$.post_id') FROM event ORDER BY id")))
            assert posts == told
            assert acknowledged in posts
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
            session.execute(text("INSERT INTO post_search (post_search) VALUES ('integrity-check')"))
    db.close()


def test_a_relative_file_is_one_place_wherever_a_process_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///here/aar.db")
    db.close()
    assert db.url == f"sqlite:///{tmp_path}/here/aar.db"
