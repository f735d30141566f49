"""What stands in the database of an arena, to see whether anything moved."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from aar.redteam.score_arena import ScoreArena
from aar.store.models import ScoringRun, Snapshot, Submission

Rows = dict[tuple[str, str], tuple[Any, ...]]


def snapshot_rows(arena: ScoreArena) -> Rows:
    """Every row of submissions, scoring runs and snapshots, by table and key."""
    found: Rows = {}
    with arena.db.reading() as session:
        for model in (Submission, ScoringRun, Snapshot):
            for row in session.execute(select(model.__table__)).mappings():
                name = str([row[column.name] for column in model.__table__.primary_key])
                found[model.__tablename__, name] = tuple(map(repr, row.values()))
    return found


def changed_rows(before: Rows, after: Rows) -> list[str]:
    """What was changed or removed between two looks; rows that were added are not."""
    return [f"{table} {key} changed" for (table, key), row in before.items() if after.get((table, key)) != row]
