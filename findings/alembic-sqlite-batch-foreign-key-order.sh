#!/usr/bin/env bash
# Alembic writes the foreign keys of a rebuilt SQLite table in another order in each run.
#
# Fact:     batch_alter_table reflects the table and takes its constraints from a set of objects that hash by their address.
#           The order in the new CREATE TABLE, which sqlite_master keeps, differs between processes; a fixed PYTHONHASHSEED
#           does not help where the system varies addresses, as Linux does. The columns keep their order.
# Versions: alembic 1.20.1, SQLAlchemy 2.1.9; Python 3.11.
# Expected: the same migration of the same table writes the same statement, with the foreign keys in the order they had.
# Observed: several orders in 6 runs with PYTHONHASHSEED=0, as with 6 seeds; 2026-11-30.
# Impact:   two databases migrated alike differ as text, so a test or a check at opening cannot compare sqlite_master.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check alembic==1.20.1 sqlalchemy==2.1.9
cat >"$folder/rebuild.py" <<'PY'
import re
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.operations import Operations

NUMBERS = range(4)
columns = [f"c{n} INTEGER" for n in NUMBERS]
keys = [f"CONSTRAINT fk_{n} FOREIGN KEY(c{n}) REFERENCES parent_{n} (id)" for n in NUMBERS]
with sqlalchemy.create_engine("sqlite://").begin() as connection:
    for n in NUMBERS:
        connection.exec_driver_sql(f"CREATE TABLE parent_{n} (id INTEGER PRIMARY KEY)")
    connection.exec_driver_sql(f"CREATE TABLE child ({', '.join(columns + keys)})")
    with Operations(MigrationContext.configure(connection)).batch_alter_table("child") as child:
        child.alter_column("c0", nullable=False)
    sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'child'").scalar_one()
assert re.findall(r"\bc\d(?= INTEGER)", sql) == ["c0", "c1", "c2", "c3"], sql
print(*re.findall(r"fk_\d", sql))
PY
FOLDER=$folder timeout 60 "$folder/venv/bin/python" - <<'PY'
import os, subprocess, sys

def order(seed):
    environment = os.environ | {"PYTHONHASHSEED": str(seed)}
    script = os.path.join(os.environ["FOLDER"], "rebuild.py")
    return subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True).stdout.strip()

one_seed, many_seeds = [order(0) for _ in range(6)], [order(seed) for seed in range(6)]
for name, orders in {"PYTHONHASHSEED=0": one_seed, "PYTHONHASHSEED=0 to 5": many_seeds}.items():
    print(f"{name}: {len(set(orders))} orders in {len(orders)} runs:", "; ".join(sorted(set(orders))))
assert len(set(one_seed)) > 1
assert len(set(many_seeds)) > 1
PY
