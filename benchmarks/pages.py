"""Measures page times, event latency and the cost of a hundred watchers.

The pages are those of a night's campaign.

Usage: python benchmarks/pages.py [--home FOLDER] [--events N] [--watchers N]

A server process on one core serves 9 researchers, 300 submissions, 2,000 posts and 50,000 events (see ``night.py``);
this process asks, writes events, and drives Debian's Chromium. It writes in two ways: as another process does, into the
database, and through the API, as a controller that serves its own pages does. A watcher does what an open page does: it
follows the stream and loads its page again when an event matters.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import httpx
from night import CAMPAIGN, Night, Size
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table
from serving import aar_serve, cpu_seconds, ms

from aar.auth.tokens import operator_token
from aar.events import ToolStarted
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.store import Database, open_database
from aar.store.event_log import append_event, latest_event_id

AT = f"/campaigns/{CAMPAIGN}"
PAGES = {
    "campaigns": "/campaigns",
    "campaign": AT,
    "researcher": f"{AT}/researchers/r2",
    "submission": f"{AT}/submissions/200",
    "forum": f"{AT}/posts",
    "forum, a search": f"{AT}/posts?q=dh+cnk",
    "post": f"{AT}/posts/1500",
    "lineage": f"{AT}/lineage",
    "compare": f"/compare?left={CAMPAIGN}&right={CAMPAIGN}",
    "report": f"{AT}/report",
}
SHOWN = {"the log": "#log >> text={}", "the newest posts": '#posts >> text="{}"'}
"""Where a post shows: in the log as part of a line, in the list as its title."""
WRITER = Author("r3", f"{CAMPAIGN}-r3")
CHROMIUM = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"]


def time_pages(address: str, pid: int, token: str, times: int) -> Table:
    """Measure each page's time and size, one request after another."""
    columns = ("p50 ms", "p95 ms", "server's CPU ms", "KB sent", "KB of HTML")
    table = Table("page", *columns, title="Pages of a night's campaign")
    with httpx.Client(base_url=address, timeout=60, headers={"Authorization": f"Bearer {token}"}) as client:
        for name, path in PAGES.items():
            taken, before = [], 0.0
            for index in range(times + 2):
                if index == 2:
                    before = cpu_seconds(pid)
                begun = time.perf_counter()
                answer = client.get(path)
                taken.append(time.perf_counter() - begun)
            used = 1000 * (cpu_seconds(pid) - before) / times
            if answer.status_code == 404:
                continue
            answer.raise_for_status()
            sizes = (answer.num_bytes_downloaded / 1000, len(answer.content) / 1000)
            shown = (f"{used:,.0f}", *(f"{size:,.1f}" for size in sizes))
            table.add_row(name, ms(taken[2:], 0.5), ms(taken[2:], 0.95), *shown)
    return table


def post(db: Database, title: str) -> int:
    """Write a researcher's post; returns the id of the newest event then."""
    with db.writing() as session:
        create_post(session, CAMPAIGN, WRITER, kind="insight", title=title, body="It holds.")
        return latest_event_id(session, CAMPAIGN)


def in_a_browser(address: str, db: Database, token: str, times: int) -> Table:
    """Measure the campaign's page in Chromium.

    The first load in bytes, and the time from a write to the changed page.
    """
    table = Table("in Chromium", "")
    operator = httpx.Client(base_url=f"{address}/api/v1{AT}", headers={"Authorization": f"Bearer {token}"})

    def ask(title: str) -> None:
        sent = {"kind": "insight", "title": title, "body": "It holds."}
        operator.post("/posts", json=sent).raise_for_status()

    writers: dict[str, Callable[[str], Any]] = {"another process": partial(post, db), "the server": ask}
    with sync_playwright() as playwright, operator:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        context = chromium.new_context()
        page = context.new_page()
        loaded: list[float] = []
        wire = context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.on("Network.loadingFinished", lambda done: loaded.append(done["encodedDataLength"]))
        page.goto(f"{address}{AT}", wait_until="load")
        table.add_row("first load, everything, KB", f"{sum(loaded) / 1000:,.1f}")
        page.wait_for_selector('.live[data-on="yes"]')
        for (who, write), (name, where) in product(writers.items(), SHOWN.items()):
            taken = []
            for index in range(times):
                title = f"{who} in {name} {index}"
                begun = time.perf_counter()
                write(title)
                page.wait_for_selector(where.format(title))
                taken.append(time.perf_counter() - begun)
            table.add_row(f"written by {who}, to {name}, p50 / p95 ms", f"{ms(taken, 0.5)} / {ms(taken, 0.95)}")
        chromium.close()
    return table


class Watchers:
    """Many open pages, without the browsers."""

    def __init__(self, address: str, after: int) -> None:
        self._address, self._after = address, after
        self.written: dict[int, float] = {}
        self.delivered: list[float] = []
        self.fetched: list[float] = []
        self.bytes = 0

    def write(self, db: Database, step: int) -> None:
        """Write a small event, and every eighth time a post."""
        number = post(db, f"watched {step}") if step % 8 == 0 else _small(db, step)
        self.written[number] = time.perf_counter()

    async def watch(self, client: httpx.AsyncClient) -> None:
        """Follow the stream as ``live.js`` does.

        The page is loaded again when an event matters, at most once a second.
        """
        stream = f"{self._address}{AT}/live?after={self._after}"
        seen = shown = 0

        async def refresh() -> None:
            nonlocal shown
            taken = 0.0
            while True:
                await asyncio.sleep(0.02)
                if seen > shown:
                    await asyncio.sleep(max(0.15, taken + 1 - time.perf_counter()))
                    shown, begun = seen, time.perf_counter()
                    asked = {"HX-Request": "true", "aar-seen": str(seen)}
                    answer = await client.get(f"{self._address}{AT}", headers=asked, timeout=120)
                    answer.raise_for_status()
                    taken = time.perf_counter()
                    self.fetched.append(taken - begun)
                    self.bytes += answer.num_bytes_downloaded

        async with client.stream("GET", stream, timeout=None) as answer, asyncio.TaskGroup() as group:
            refreshing = group.create_task(refresh())
            number = 0
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    number = int(line[4:])
                elif line.startswith("event: "):
                    if number in self.written:
                        self.delivered.append(time.perf_counter() - self.written[number])
                    if line == "event: loud":
                        seen = number
            refreshing.cancel()


async def watched(address: str, pid: int, db: Database, count: int, seconds: int) -> Table:
    """Measure the cost of many watchers while nine researchers work.

    Four small events a second, a post every two.
    """
    with db.reading() as session:
        crowd = Watchers(address, latest_event_id(session, CAMPAIGN))
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits) as client:
        tasks = [asyncio.create_task(crowd.watch(client)) for _ in range(count)]
        await asyncio.sleep(3)
        before, begun = cpu_seconds(pid), time.perf_counter()
        for step in range(4 * seconds):
            await asyncio.to_thread(crowd.write, db, step)
            await asyncio.sleep(max(0.0, begun + (step + 1) / 4 - time.perf_counter()))
        await asyncio.sleep(2)
        used = (cpu_seconds(pid) - before) / (time.perf_counter() - begun)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    per_page = crowd.bytes / max(1, len(crowd.fetched)) / 1000
    table = Table(f"{count} watchers, {seconds} s", "")
    table.add_row("server's CPU, % of one core", f"{100 * used:,.0f}")
    table.add_row("deliveries", f"{len(crowd.delivered):,} of {count * len(crowd.written):,}")
    table.add_row("commit to watcher, p50 / p95 ms", f"{ms(crowd.delivered, 0.5)} / {ms(crowd.delivered, 0.95)}")
    table.add_row(
        "pages taken anew, p50 / p95 ms",
        f"{len(crowd.fetched):,} of {per_page:,.0f} KB: {ms(crowd.fetched, 0.5)} / {ms(crowd.fetched, 0.95)}",
    )
    return table


def _small(db: Database, step: int) -> int:
    with db.writing() as session:
        return append_event(
            session, CAMPAIGN, ToolStarted(tool_use_id=f"w{step}", tool="bash", about="ls"), WRITER.researcher_id
        )


def tables(home: Path, *, events: int, times: int, watchers: int, seconds: int) -> Iterator[Table]:
    """Print all tables, over a campaign in ``home``.

    It is written if it is not there.
    """
    known = (home / "aar.db").exists()
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    whole = Size()
    share = events / whole.events
    size = Size(submissions=int(whole.submissions * share), posts=int(whole.posts * share), events=events)
    if not known:
        asyncio.run(Night(db, home, size).write())
    with aar_serve(home) as (address, pid):
        yield time_pages(address, pid, operator_token(home), times)
        yield in_a_browser(address, db, operator_token(home), times)
        yield asyncio.run(watched(address, pid, db, watchers, seconds))
    db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", type=Path, help="keep the campaign here, and use it if it is here already")
    parser.add_argument("--events", type=int, default=50_000, help="size of the log; the rest shrinks with it")
    parser.add_argument("--times", type=int, default=30, help="requests a page, and events on the screen")
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30, help="how long the watchers watch")
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as scratch:
        home = options.pop("home") or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        for table in tables(home, **options):
            Console().print(table)


if __name__ == "__main__":
    main()
