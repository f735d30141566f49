"""The forum over HTTP beside a plain Flask forum, in one run. Run: python benchmarks/forum_http.py [--posts 1000 ...]

Both are processes of their own on loopback, with SQLite, asked by one client over one kept connection. ``posts/s`` are
POST requests; ``search`` asks for two words of which one stands in about one post of a thousand; ``sync`` asks what is
new after ten posts. Forums are filled below HTTP. Flask: uv pip install flask
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from forum import AUTHORS, CAMPAIGN, words
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, text

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
from aar.web.serve import bind, serve
home = Path(sys.argv[1])
app = create_app(open_database(f"sqlite:///{home}/aar.db"), home=home)
asyncio.run(serve(app, bind("127.0.0.1", int(sys.argv[2]))))
"""
_ASKED = 40


def texts(rng: random.Random, count: int, first: int) -> list[dict[str, Any]]:
    """Posts with one selective word each: ``rare17`` stands in one of a thousand."""
    return [
        {"kind": "result", "title": words(rng, 8), "body": f"{words(rng, 120)} rare{(first + index) % 1000}"}
        for index in range(count)
    ]


@contextmanager
def served(command: list[str], ready: str, port: int, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """A server process and a client of it."""
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(300):
                try:
                    client.get(ready)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield client
    finally:
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


def measure(
    client: httpx.Client,
    rng: random.Random,
    *,
    headers: dict[str, str],
    posts: str,
    search: str,
    sync: Callable[[], httpx.Response],
) -> list[float]:
    """posts/s, searches/s, sync ms, sync bytes."""

    def write(count: int) -> float:
        sent = texts(rng, count, 0)
        begun = time.perf_counter()
        for each in sent:
            client.post(posts, json=each, headers=headers).raise_for_status()
        return count / (time.perf_counter() - begun)

    def find() -> None:
        answer = client.get(search, params={"q": f"{words(rng, 1)} rare{rng.randrange(1000)}"})
        answer.raise_for_status()

    rate, searches = write(100), 1000 / median_ms(find, _ASKED)
    answers: list[httpx.Response] = []
    write(10)
    taken = median_ms(lambda: answers.append(sync()), 20)
    return [rate, searches, taken, float(len(answers[-1].raise_for_status().content))]


def ours(folder: Path, count: int) -> list[float]:
    """Figures of aar with so many posts."""
    rng = random.Random(7)
    home = folder / "aar"
    db = open_database(f"sqlite:///{home}/aar.db")
    with db.writing() as session:
        add_campaign(session, CAMPAIGN, researchers=3)
        author = {"campaign_id": CAMPAIGN, "researcher_id": AUTHORS[0].researcher_id, "author": "r1"}
        for first in range(0, count, 1000):
            rows = [author | {"created_at": now()} | each for each in texts(rng, min(1000, count - first), first)]
            session.execute(insert(Post), rows)
    db.close()
    port = _free_port()
    token = {"Authorization": f"Bearer {operator_token(home)}"}
    api = f"/api/v1/campaigns/{CAMPAIGN}"
    command = [sys.executable, "-c", _SERVER, str(home), str(port)]
    with served(command, api, port, {"AAR_HOME": str(home)}) as client:
        last: list[int] = []

        def sync() -> httpx.Response:
            if not last:
                end = client.get(f"{api}/forum/changes", params={"since": 0, "limit": 1}).json()
                while end["more"]:
                    end = client.get(f"{api}/forum/changes", params={"since": end["cursor"], "limit": 50}).json()
                last.append(end["cursor"] - 10)
            return client.get(f"{api}/forum/changes", params={"since": last[0]})

        return measure(client, rng, headers=token, posts=f"{api}/posts", search=f"{api}/search", sync=sync)


def plain(folder: Path, count: int) -> list[float]:
    """Figures of the Flask forum with so many posts."""
    from flask_forum import Base, make_app
    from sqlalchemy import create_engine

    rng = random.Random(7)
    path = folder / "flask.db"
    make_app(str(path))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for first in range(0, count, 1000):
            rows = [
                {"author": "r1", "score": 0, "created_at": now()} | each
                for each in texts(rng, min(1000, count - first), first)
            ]
            connection.execute(insert(Base.metadata.tables["post"]), rows)
    port = _free_port()
    command = [sys.executable, str(Path(__file__).parent / "flask_forum.py"), str(path), str(port)]
    with served(command, "/posts?limit=1", port, {}) as client:

        def sync() -> httpx.Response:
            return client.get("/posts", params={"after": count + 100})

        figures = measure(client, rng, headers={}, posts="/posts", search="/search", sync=sync)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM post")) == count + 110
    engine.dispose()
    return figures


def _free_port() -> int:
    with bind("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--posts", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the forum")
    options = parser.parse_args()
    has_flask = importlib.util.find_spec("flask") is not None
    if not has_flask:
        print("Flask is not installed, so there is nothing to compare with: uv pip install flask", file=sys.stderr)
    table = Table("posts", "forum", "posts/s", "searches/s", "sync of 10 posts, ms", "sync, bytes")
    for count in options.posts:
        for name, run in (("aar", ours), ("Flask", plain)) if has_flask else (("aar", ours),):
            with tempfile.TemporaryDirectory() as scratch:
                figures = run(Path(scratch), count)
            table.add_row(f"{count:,}", name, *(f"{figure:,.1f}" for figure in figures[:3]), f"{figures[3]:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
