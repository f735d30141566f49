"""Writes ``aar/store/schema.sql`` from the migrations: ``python -m aar.testing.schema_file``, after adding one."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from aar.store.database import Database
from aar.store.schema import HEAD, SCHEMA_FILE, VERSION_TABLE, migrate


def migrated_schema(folder: Path) -> str:
    """Return the statements that create what the migrations make of an empty SQLite file in ``folder``."""
    database = Database(f"sqlite:///{folder}/migrated.db")
    with database.engine.execution_options(aar_write=True).begin() as connection:
        migrate(connection)
        tables = connection.exec_driver_sql("PRAGMA table_list").all()
        shadows = {table.name for table in tables if table.type == "shadow"}  # SQLite creates them with their index
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        statements = [row.sql for row in rows if row.name not in shadows]
    database.close()
    tidy = [re.sub(r"[ \t]+\n", "\n", statement).replace("\t", "    ").strip() for statement in statements]
    tidy = [re.sub(r"\n\s*\n", "\n", statement) for statement in tidy]
    return "\n\n".join([*tidy, f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{HEAD}')"]) + "\n"  # noqa: S608


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        SCHEMA_FILE.write_text(migrated_schema(Path(scratch)), encoding="utf-8")
