r"""The word index on PostgreSQL: cuts at every mark and ignores accents.

It holds the words of posts and comments as a search cuts them.

PostgreSQL's own parser keeps file names, paths, decimals, versions and rates whole. So marks become blanks before it
sees the text. They are named by number, since the meaning of ``[[:alnum:]]`` depends on the database's locale. And no
word is left out for being frequent, as SQLite leaves none out: "a" may be a variable.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import unicodedata

from alembic import op

revision = "0011"
down_revision = "0010"

_INDEXED = {"post": ("title", "body"), "comment": ("body",)}
_MARKS = (
    r"[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7"
    r"\u02c2-\u02c5\u02d2-\u02df\u2000-\u206f\u207a-\u207e\u208a-\u208e\u20a0-\u20cf\u2190-\u245f\u249c-\u24e9"
    r"\u2500-\u2775\u2794-\u2bff\u2e00-\u2e2e\u2e30-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\ufe10-\ufe6f\uff01-\uff0f"
    r"\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\ufffd\U0001f000-\U0001faff]+"
)
_NO_STOP_WORDS = (
    "CREATE TEXT SEARCH DICTIONARY aar_english_stem (TEMPLATE = pg_catalog.snowball, Language = english)",
    "CREATE TEXT SEARCH CONFIGURATION aar_english (COPY = pg_catalog.english)",
    "ALTER TEXT SEARCH CONFIGURATION aar_english ALTER MAPPING FOR asciiword, word WITH aar_english_stem",
)
_COMBINING = r"[\u0300-\u036f]+"


def upgrade() -> None:
    """Build the index again; SQLite's cuts this way already."""
    if op.get_bind().dialect.name == "sqlite":
        return
    accented, plain = _letters()
    connection = op.get_bind()
    for statement in _NO_STOP_WORDS:
        connection.exec_driver_sql(statement)
    for table, (first, *others) in _INDEXED.items():
        vectors = [f"setweight({_vector(first, accented, plain)}, 'A')", *(_vector(n, accented, plain) for n in others)]
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {table}_search")
        connection.exec_driver_sql(
            f"ALTER TABLE {table} ADD COLUMN {table}_search tsvector "
            f"GENERATED ALWAYS AS ({' || '.join(vectors)}) STORED"
        )
        connection.exec_driver_sql(f"CREATE INDEX ix_{table}_search ON {table} USING gin ({table}_search)")


def _vector(column: str, accented: str, plain: str) -> str:
    bare = f"translate(regexp_replace({column}, '{_COMBINING}', '', 'g'), '{accented}', '{plain}')"
    return f"to_tsvector('aar_english', regexp_replace({bare}, '{_MARKS}', ' ', 'g'))"


def _letters() -> tuple[str, str]:
    """Return Latin letters with an accent, and the same letters without."""
    found = {}
    for point in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(point))[0]
        if base != chr(point) and base.isascii():
            found[chr(point)] = base
    return "".join(found), "".join(found.values())
