"""Compares an arena's database before and after an attack."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from aar.redteam.score_arena import ScoreArena
from aar.store.models import ScoringRun, Snapshot, Submission

Rows = dict[tuple[str, str], tuple[Any, ...]]


def snapshot_rows(arena: ScoreArena) -> Rows:
    """Return every row of submissions, scoring runs and snapshots, by table and key."""
    found: Rows = {}
    with arena.db.reading() as session:
        for model in (Submission, ScoringRun, Snapshot):
            for row in session.execute(select(model.__table__)).mappings():
                name = str([row[column.name] for column in model.__table__.primary_key])
                found[model.__tablename__, name] = tuple(map(repr, row.values()))
    return found


def changed_rows(before: Rows, after: Rows) -> list[str]:
    """List the rows that were changed or removed between two snapshots, not added ones."""
    return [f"{table} {key} changed" for (table, key), row in before.items() if after.get((table, key)) != row]
