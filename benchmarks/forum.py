"""Measures the forum's speed: posts, searches and mirror syncs.

Run: python benchmarks/forum.py [--database URL]

Every post is one durable transaction through the service that researchers' tools call. Texts are drawn from a seeded
vocabulary of 2,000 words with a natural (1/rank) frequency, 120 words a post.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table

from aar.forum.authors import Author
from aar.forum.mirror import ForumMirror
from aar.forum.news import news_since
from aar.forum.posts import cast_vote, create_comment, create_post
from aar.forum.search import full_text_search
from aar.redteam.campaign_rows import add_campaign
from aar.store import Database, open_database

CAMPAIGN = "bench2"
AUTHORS = [Author(f"r{index}", f"{CAMPAIGN}-r{index}") for index in (1, 2, 3)]
VOCABULARY = ["".join(random.Random(index).choices("abcdefghijklmnop", k=3 + index % 7)) for index in range(2000)]
WEIGHTS = [1 / (rank + 1) for rank in range(len(VOCABULARY))]

MEASURES = (
    "posts/s, one transaction each",
    "search for two words, ms",
    "searches/s",
    "news since the beginning, ms",
    "first mirror sync, ms",
    "mirror sync after a comment and a vote, ms",
    "mirror sync with nothing new, ms",
)


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(VOCABULARY, WEIGHTS, k=count))


def fill(db: Database, rng: random.Random, count: int) -> float:
    """Write posts, one transaction each; returns posts per second."""
    texts = [(words(rng, 8), words(rng, 120)) for _ in range(count)]
    begun = time.perf_counter()
    for index, (title, body) in enumerate(texts):
        author = AUTHORS[index % 3]
        db.write_now(partial(create_post, campaign_id=CAMPAIGN, author=author, kind="result", title=title, body=body))
    return count / (time.perf_counter() - begun)


def median_ms(action: Callable[[], Any], times: int) -> float:
    """Return the median time of an action, in milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


async def _sync_ms(mirror: ForumMirror) -> float:
    begun = time.perf_counter()
    await mirror.sync()
    return (time.perf_counter() - begun) * 1000


def measure(db: Database, folder: Path, posts: int, rng: random.Random) -> list[str]:
    """Measure one row of the table, with ``posts`` posts on the forum."""
    queries = [words(rng, 2) for _ in range(50)]

    def find() -> None:
        with db.reading() as session:
            full_text_search(session, CAMPAIGN, queries[rng.randrange(len(queries))])

    def news() -> None:
        with db.reading() as session:
            news_since(session, CAMPAIGN, AUTHORS[0].researcher_id or "", 0)

    def comment_and_vote() -> None:
        post = rng.randrange(1, posts)
        db.write_now(
            partial(create_comment, campaign_id=CAMPAIGN, author=Author("ana", None), post_id=post, body="well")
        )
        db.write_now(partial(cast_vote, campaign_id=CAMPAIGN, author=Author("ana", None), post_id=post, value=1))

    search_ms = median_ms(find, 100)
    news_ms = median_ms(news, 5)
    mirror = ForumMirror(db, CAMPAIGN, folder / str(posts))
    first = anyio.run(_sync_ms, mirror)
    changed, idle = [], []
    for _ in range(7):
        comment_and_vote()
        changed.append(anyio.run(_sync_ms, mirror))
        idle.append(anyio.run(_sync_ms, mirror))
    figures = (search_ms, 1000 / search_ms, news_ms, first, statistics.median(changed), statistics.median(idle))
    return [f"{figure:,.1f}" for figure in figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--database", default="", help="URL of an empty database; SQLite in a temporary folder if absent"
    )
    parser.add_argument("--posts", type=int, nargs="+", default=[1_000, 10_000], help="sizes of the forum, ascending")
    options = parser.parse_args()
    rng = random.Random(7)
    measured: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        db = open_database(options.database or f"sqlite:///{scratch}/aar.db")
        with db.writing() as session:
            add_campaign(session, CAMPAIGN, researchers=3)
        written = 0
        for posts in sorted(options.posts):
            rate = fill(db, rng, posts - written)
            written = posts
            measured.append([f"{rate:,.0f}", *measure(db, Path(scratch), posts, rng)])
        db.close()
    table = Table("", *(f"{posts:,} posts" for posts in sorted(options.posts)))
    for name, *row in zip(MEASURES, *measured, strict=True):
        table.add_row(str(name), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
