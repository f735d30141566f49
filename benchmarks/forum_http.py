"""The forum over HTTP beside a plain Flask forum, in one run. Run: python benchmarks/forum_http.py [--posts 1000 ...]

Both are one process each on loopback, with SQLite, asked by one client over one kept connection; Flask runs under
waitress, with its defaults. ``posts/s`` are POST requests; a search asks for two words of one post, of which one
stands in about one post of a thousand; a sync asks what is new since ten posts ago, in bytes as they cross the wire
(the client takes gzip, as browsers do). Forums are filled below HTTP. aar's bounds on writes a second are lifted, with
the setting that ``create_app`` has for it; everything else is as served: tokens, audit log, near-duplicates, mentions,
events.

Flask: uv pip install flask waitress
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from forum import AUTHORS, CAMPAIGN, words
from rich.console import Console
from rich.table import Table as Shown
from sqlalchemy import Connection, Table, insert, text

from aar.forum.tokens import operator_token
from aar.store import open_database
from aar.store.models import Post
from aar.store.types import now
from aar.testing.rows import add_campaign
from aar.web.serve import bind

_SERVER = """
import asyncio, sys
from pathlib import Path
from aar.store import open_database
from aar.web.app import create_app
from aar.web.rates import Rate, Rates
from aar.web.serve import bind, serve
home, free = Path(sys.argv[1]), Rate(10**9, 10**9)
app = create_app(open_database(f"sqlite:///{home}/aar.db"), home=home, rates=Rates(address=free, credential=free))
asyncio.run(serve(app, bind("127.0.0.1", int(sys.argv[2]))))
"""
_POSTS, _SEARCHES, _SYNCS = 300, 100, 50
_READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``body`` as it crossed the wire."""

    body: bytes
    zipped: bool

    def json(self) -> Any:
        """What it says."""
        return json.loads(gzip.decompress(self.body) if self.zipped else self.body)


class Client:
    """One kept connection, with as little work between requests as the standard library has."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Accept-Encoding": "gzip"} | headers

    def ask(self, method: str, path: str, sent: dict[str, Any] | None = None, **query: str | int) -> Answer:
        """Make one request. Raises AssertionError for an answer that is no success."""
        headers = self._headers | ({} if sent is None else {"Content-Type": "application/json"})
        body = None if sent is None else json.dumps(sent).encode()
        self._connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, headers)
        answer = self._connection.getresponse()
        found = Answer(answer.read(), answer.headers.get("Content-Encoding") == "gzip")
        assert answer.status < 300, (answer.status, found.body)
        return found

    def close(self) -> None:
        """Close the connection, so that it is opened anew when next needed."""
        self._connection.close()


def texts(rng: random.Random, count: int, first: int) -> list[dict[str, Any]]:
    """Posts with one selective word each: ``rare17`` stands in one of a thousand."""
    return [
        {"kind": "result", "title": words(rng, 8), "body": f"{words(rng, 120)} rare{(first + index) % 1000}"}
        for index in range(count)
    ]


@contextmanager
def served(
    command: list[str], ready: str, port: int, *, environment: dict[str, str], headers: dict[str, str]
) -> Iterator[Client]:
    """A server process and a client of it."""
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    client = Client(port, headers)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                client.ask("GET", ready)
                break
            except OSError:
                client.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


def median_ms(action: Callable[[], Any], times: int) -> float:
    """The median time of an action, in milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


def fill(connection: Connection, table: Table, rng: random.Random, count: int, fixed: dict[str, Any]) -> list[str]:
    """Write posts straight to the database; returns searches, each for two words of one post, one of them rare."""
    asked: list[str] = []
    for first in range(0, count, 1000):
        sent = texts(rng, min(1000, count - first), first)
        connection.execute(insert(table), [fixed | {"created_at": now()} | each for each in sent])
        said = [each["body"].split() for each in rng.sample(sent, min(_SEARCHES, len(sent)))]
        asked += [f"{rng.choice(each[:-1])} {each[-1]}" for each in said]
    return rng.sample(asked, _SEARCHES)


def measure(
    client: Client, rng: random.Random, asked: list[str], *, posts: str, search: str, sync: Callable[[], Answer]
) -> list[float]:
    """posts/s, searches/s, sync ms, sync bytes."""

    def write(count: int) -> float:
        sent = texts(rng, count, 0)
        begun = time.perf_counter()
        for each in sent:
            client.ask("POST", posts, each)
        return count / (time.perf_counter() - begun)

    def find() -> None:
        assert client.ask("GET", search, q=next(queries)).json()["items"]

    queries = iter(asked)
    rate, searches = write(_POSTS), 1000 / median_ms(find, len(asked))
    answers: list[Answer] = []
    write(10)
    taken = median_ms(lambda: answers.append(sync()), _SYNCS)
    return [rate, searches, taken, float(len(answers[-1].body))]


def ours(folder: Path, count: int) -> list[float]:
    """Figures of aar with so many posts."""
    rng = random.Random(7)
    home = folder / "aar"
    db = open_database(f"sqlite:///{home}/aar.db")
    with db.writing() as session:
        add_campaign(session, CAMPAIGN, researchers=3)
        session.flush()
        author = {"campaign_id": CAMPAIGN, "researcher_id": AUTHORS[0].researcher_id, "author": "r1"}
        asked = fill(session.connection(), cast(Table, Post.__table__), rng, count, author)
    db.close()
    port = _free_port()
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

        return measure(client, rng, asked, posts=f"{api}/posts", search=f"{api}/search", sync=sync)


def plain(folder: Path, count: int) -> list[float]:
    """Figures of the Flask forum with so many posts."""
    from flask_forum import Base, make_app
    from sqlalchemy import create_engine

    rng = random.Random(7)
    path = folder / "flask.db"
    make_app(str(path))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        asked = fill(connection, Base.metadata.tables["post"], rng, count, {"author": "r1", "score": 0})
    port = _free_port()
    command = [sys.executable, str(Path(__file__).parent / "flask_forum.py"), str(path), str(port)]
    with served(command, "/posts?limit=1", port, environment={}, headers={}) as client:

        def sync() -> Answer:
            return client.ask("GET", "/posts", after=count + _POSTS)

        figures = measure(client, rng, asked, posts="/posts", search="/search", sync=sync)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM post")) == count + _POSTS + 10
    engine.dispose()
    return figures


def _free_port() -> int:
    with bind("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--posts", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the forum")
    options = parser.parse_args()
    has_flask = all(importlib.util.find_spec(name) for name in ("flask", "waitress"))
    if not has_flask:
        print("Nothing to compare with is installed: uv pip install flask waitress", file=sys.stderr)
    table = Shown("posts", "forum", "posts/s", "searches/s", "sync of 10 posts, ms", "sync, bytes")
    for count in options.posts:
        for name, run in (("aar", ours), ("Flask", plain)) if has_flask else (("aar", ours),):
            with tempfile.TemporaryDirectory() as scratch:
                figures = run(Path(scratch), count)
            table.add_row(f"{count:,}", name, *(f"{figure:,.1f}" for figure in figures[:3]), f"{figures[3]:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
