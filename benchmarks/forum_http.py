"""Compares the forum over HTTP with a plain Flask forum.

Run: python benchmarks/forum_http.py [--posts 1000 ...]

Both are one process each on loopback, with one client over one persistent connection; Flask runs under waitress. aar
has SQLite with write-ahead logging and ``synchronous=NORMAL``; Flask is measured twice, with the same two settings and
with SQLite's own (a rollback journal, ``synchronous=FULL``), which a plain forum comes with. ``posts/s`` are POST
requests; a search asks for two words of one post, of which one is in about one post of a thousand; a sync asks for the
changes since ten posts ago, in bytes as they cross the wire (the client takes gzip, as browsers do); a page is the
forum's first one for people. Each time comes with the server's CPU time for one request, which depends less on the
machine's other work. Forums are filled below HTTP. aar's limits on writes a second are lifted, with the setting that
``create_app`` has for it; everything else is as served: tokens, audit log, near-duplicates, mentions, events.

Flask: uv pip install flask waitress
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from forum import AUTHORS, CAMPAIGN, words
from rich.console import Console
from rich.table import Table
from serving import Answer, Client, Timed, free_port, served, timed
from sqlalchemy import Connection, insert, text
from sqlalchemy import Table as SqlTable

from aar.auth.tokens import operator_token
from aar.redteam.campaign_rows import add_campaign
from aar.store import open_database
from aar.store.column_types import now
from aar.store.models import Post

_SERVER = """
import asyncio, sys
from pathlib import Path
from aar.store import open_database
from aar.web.app import create_app
from aar.web.rate_limit import RateLimit, RateLimits
from aar.web.listen_address import bind_listener
from aar.web.server import serve_app
home, free = Path(sys.argv[1]), RateLimit(10**9, 10**9)
app = create_app(open_database(f"sqlite:///{home}/aar.db"), home=home, rates=RateLimits(address=free, credential=free))
asyncio.run(serve_app(app, bind_listener("127.0.0.1", int(sys.argv[2]))))
"""
_POSTS, _SEARCHES, _SYNCS, _PAGES = 300, 100, 100, 50
SIZES = (1_000, 10_000, 100_000)
Ask = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one forum at one size.

    ``sync_bytes`` and ``page_bytes`` are counted as they cross the wire.
    """

    posts: Timed
    searches: Timed
    sync: Timed
    sync_bytes: int
    page: Timed
    page_bytes: int


def texts(rng: random.Random, count: int, first: int) -> list[dict[str, Any]]:
    """Write posts with one selective word each: ``rare17`` is in one of a thousand."""
    return [
        {"kind": "result", "title": words(rng, 8), "body": f"{words(rng, 120)} rare{(first + index) % 1000}"}
        for index in range(count)
    ]


def fill(connection: Connection, table: SqlTable, rng: random.Random, count: int, fixed: dict[str, Any]) -> list[str]:
    """Write posts straight to the database; returns searches.

    Each search has two words of one post, one of them rare.
    """
    asked: list[str] = []
    for first in range(0, count, 1000):
        sent = texts(rng, min(1000, count - first), first)
        connection.execute(insert(table), [fixed | {"created_at": now()} | each for each in sent])
        said = [each["body"].split() for each in rng.sample(sent, min(_SEARCHES, len(sent)))]
        asked += [f"{rng.choice(each[:-1])} {each[-1]}" for each in said]
    return rng.sample(asked, _SEARCHES)


def measure(
    client: Client, rng: random.Random, asked: list[str], *, posts: str, search: str, page: str, sync: Ask
) -> Figures:
    """Measure one forum."""
    written = iter(texts(rng, _POSTS + 10, 0))
    queries = iter(asked)
    answers: dict[str, Answer] = {}

    def find() -> None:
        assert client.ask("GET", search, q=next(queries)).json()["items"]

    def keep(name: str, ask: Ask) -> Callable[[], None]:
        return lambda: answers.update({name: ask()})

    rate = timed(client, lambda: client.ask("POST", posts, next(written)), _POSTS)
    found = timed(client, find, len(asked))
    for each in written:
        client.ask("POST", posts, each)
    synced = timed(client, keep("sync", sync), _SYNCS)
    shown = timed(client, keep("page", lambda: client.ask("GET", page)), _PAGES)
    return Figures(rate, found, synced, len(answers["sync"].body), shown, len(answers["page"].body))


def ours(folder: Path, count: int) -> Figures:
    """Measure aar with the given number of posts."""
    rng = random.Random(7)
    home = folder / "aar"
    db = open_database(f"sqlite:///{home}/aar.db")
    with db.writing() as session:
        add_campaign(session, CAMPAIGN, researchers=3)
        session.flush()
        author = {"campaign_id": CAMPAIGN, "researcher_id": AUTHORS[0].researcher_id, "author": "r1"}
        asked = fill(session.connection(), cast(SqlTable, Post.__table__), rng, count, author)
    db.close()
    port = free_port()
    token = {"Authorization": f"Bearer {operator_token(home)}"}
    api = f"/api/v1/campaigns/{CAMPAIGN}"
    command = [sys.executable, "-c", _SERVER, str(home), str(port)]
    with served(command, api, port, environment={"AAR_HOME": str(home)}, headers=token) as client:
        last: list[int] = []

        def sync() -> Answer:
            if not last:
                end = {"cursor": 0, "more": True}
                while end["more"]:
                    end = client.ask("GET", f"{api}/forum/changes", since=end["cursor"], limit=50).json()
                last.append(end["cursor"] - 10)
            return client.ask("GET", f"{api}/forum/changes", since=last[0])

        page = f"/campaigns/{CAMPAIGN}/posts"
        return measure(client, rng, asked, posts=f"{api}/posts", search=f"{api}/search", page=page, sync=sync)


def plain(folder: Path, count: int, *, wal: bool) -> Figures:
    """Measure the Flask forum with the given number of posts.

    SQLite has aar's settings or its own.
    """
    from flask_forum import Base, make_app
    from sqlalchemy import create_engine

    rng = random.Random(7)
    path = folder / "flask.db"
    make_app(str(path), wal=wal)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        asked = fill(connection, Base.metadata.tables["post"], rng, count, {"author": "r1", "score": 0})
    port = free_port()
    command = [
        sys.executable,
        str(Path(__file__).parent / "flask_forum.py"),
        str(path),
        str(port),
        *(["--wal"] if wal else []),
    ]
    with served(command, "/posts?limit=1", port, environment={}, headers={}) as client:

        def sync() -> Answer:
            return client.ask("GET", "/posts", after=count + _POSTS)

        figures = measure(client, rng, asked, posts="/posts", search="/search", page="/", sync=sync)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM post")) == count + _POSTS + 10
    engine.dispose()
    return figures


def compared(sizes: Sequence[int]) -> Table:
    """Compare both forums at the given number of posts."""
    has_flask = all(importlib.util.find_spec(name) for name in ("flask", "waitress"))
    if not has_flask:
        print("Nothing to compare with is installed: uv pip install flask waitress", file=sys.stderr)
    forums: dict[str, Callable[[Path, int], Figures]] = {
        "aar": ours,
        "Flask, same SQLite settings": partial(plain, wal=True),
        "Flask, SQLite's defaults": partial(plain, wal=False),
    }
    columns = ("posts/s", "searches/s", "sync of 10 posts, ms", "sync, kB", "page, p50 ms", "page, kB")
    table = Table("posts", "forum", *columns, title="The forum over HTTP (in brackets: ms of the server's CPU for one)")
    for count in sizes:
        for name, run in forums.items() if has_flask else [("aar", ours)]:
            with tempfile.TemporaryDirectory() as scratch:
                one = run(Path(scratch), count)
            table.add_row(
                f"{count:,}",
                name,
                f"{one.posts.rate:,.0f} ({one.posts.cpu_ms:.1f})",
                f"{one.searches.rate:,.0f} ({one.searches.cpu_ms:.1f})",
                f"{one.sync.median:,.1f} ({one.sync.cpu_ms:.1f})",
                f"{one.sync_bytes / 1000:,.1f}",
                f"{one.page.median:,.1f} ({one.page.cpu_ms:.1f})",
                f"{one.page_bytes / 1000:,.1f}",
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--posts", type=int, nargs="+", default=SIZES, help="sizes of the forum")
    Console().print(compared(parser.parse_args().posts))


if __name__ == "__main__":
    main()
