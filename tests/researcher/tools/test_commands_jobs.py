"""Jobs and waiting for them."""

from __future__ import annotations

import asyncio

import pytest

from aar.errors import UsageError
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.researcher.context import StopRequested

from ..conftest import CAMPAIGN
from .conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


async def start(bench: Bench, command: str) -> str:
    text = await bench.text("start_job", command=command)
    assert text.startswith("Job ")
    assert text.splitlines()[0].endswith(" started.")
    return text.split()[1]


async def test_a_job_is_waited_for_and_read(bench: Bench) -> None:
    job = await start(bench, "echo working; sleep 0.3; echo done; exit 4")
    text = await bench.text("wait", **{"for": "job", "id": job})
    assert text.startswith(f"Job {job} exited with code 4 after")
    assert text.rstrip().endswith("working\ndone")
    assert "working" in await bench.text("job_output", job=job)


async def test_a_running_job_is_told_and_stopped(bench: Bench) -> None:
    job = await start(bench, "sleep 600")
    text = await bench.text("wait", **{"for": "job", "id": job, "timeout_seconds": 0.2})
    assert text.startswith(f"Job {job} is still running")
    assert f"Job {job} was stopped" in await bench.text("stop_job", job=job)


async def test_unknown_job_names_the_known_ones(bench: Bench) -> None:
    job = await start(bench, "true")
    for tool, given in (
        ("wait", {"for": "job", "id": "zzz"}),
        ("job_output", {"job": "zzz"}),
        ("stop_job", {"job": "zzz"}),
    ):
        with pytest.raises(UsageError, match=f"unknown job zzz.*{job}"):
            await bench.use(tool, **given)


async def test_waits_need_an_id(bench: Bench) -> None:
    for kind in ("job", "submission"):
        with pytest.raises(UsageError, match="needs its id"):
            await bench.use("wait", **{"for": kind})


async def test_a_pause_ends_a_wait(bench: Bench) -> None:
    job = await start(bench, "sleep 600")
    waiting = asyncio.create_task(bench.use("wait", **{"for": "job", "id": job}))
    await asyncio.sleep(0)
    bench.ctx.stopping.set()
    with pytest.raises(StopRequested):
        await waiting


async def test_news_and_time(bench: Bench) -> None:
    assert await bench.text("wait", **{"for": "time", "timeout_seconds": 0.01}) == "0.01 seconds have passed."
    assert await bench.text("wait", **{"for": "news", "timeout_seconds": 0.01}) == "No news."
    author = Author("r2", f"{CAMPAIGN}-r2")
    with bench.ctx.db.writing() as session:
        create_post(session, CAMPAIGN, author, kind="insight", title="T", body="B")
    assert (await bench.text("wait", **{"for": "news"})).startswith("News:")


async def test_a_persons_words_end_a_long_wait(bench: Bench) -> None:
    with bench.ctx.db.writing() as session:
        create_post(session, CAMPAIGN, Author("human:ana", None), kind="question", title="Q", body="Look here")
    text = await bench.text("wait", **{"for": "time", "timeout_seconds": 3000})
    assert "a person wrote" in text
