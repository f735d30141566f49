"""A campaign with three researchers in a real database, a problem with tight limits, and real sandboxes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.price_book import PriceBook
from aar.problems.protocol import Problem, Stage, Task
from aar.problems.registry import find_problem
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.sandbox.docker import DockerBackend
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.cleanroom.run_sandbox import prepared_bundles
from aar.scoring.method_manifest import read_manifest
from aar.scoring.scorer import Scorer
from aar.scoring.submissions import SubmissionView, submit
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import Campaign, Researcher

CAMPAIGN = "k3v9qd"
Serving = Callable[..., AbstractAsyncContextManager[tuple[Scorer, asyncio.Task[None]]]]
COPY = "import coinlab, numpy as np\ngiven = coinlab.arguments()\nnp.save(given.out, coinlab.noisy(given))\n"
"""A method that hands the teacher's word on."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A campaign's database and snapshots, and a folder to write methods in."""

    db: Database
    snapshots: SnapshotStore
    folder: Path

    def method(self, code: str, *, title: str = "A method", families: str = "[other]", extra: str = "") -> Path:
        """A method's directory with ``run.py`` and ``method.yaml``."""
        directory = self.folder / f"method-{len(list(self.folder.iterdir()))}"
        directory.mkdir()
        (directory / "run.py").write_text(code)
        (directory / "method.yaml").write_text(f"title: {title}\nclaim: It works.\nfamilies: {families}\n{extra}")
        return directory

    def submit(self, directory: Path, researcher: int = 1, key: str | None = None, *, runs: int = 0) -> SubmissionView:
        """Hand a method in."""
        saved = self.snapshots.save(directory)
        with self.db.writing() as session:
            return submit(
                session,
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r{researcher}",
                saved=saved,
                manifest=read_manifest(directory),
                idempotency_key=key,
                runs=runs,
            )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "methods"
    folder.mkdir()
    db = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with db.writing() as session:
        session.add(Campaign(id=CAMPAIGN, name="test", problem="toy", spec={}, state="running", secret="s" * 64))
        session.flush()
        for index in (1, 2, 3):
            session.add(
                Researcher(
                    id=f"{CAMPAIGN}-r{index}",
                    campaign_id=CAMPAIGN,
                    name=f"r{index}",
                    index=index,
                    direction_key="d",
                    direction="try things",
                    model="offline-search",
                    state="running",
                )
            )
    yield Desk(db, SnapshotStore(tmp_path / "snapshots"), folder)
    db.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def problem() -> Problem:
    return find_problem(Path(__file__).parent / "coins")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own: sandboxes of other homes are neither seen nor touched."""
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path / "home"
    get_settings.cache_clear()


@pytest.fixture
async def docker_backend(home: Path) -> AsyncIterator[SandboxBackend]:
    """Docker's sandboxes; skipped where no engine works, and nothing may be left of them."""
    made = DockerBackend()
    availability = await made.check()
    if not availability.ok:
        await made.close()
        (pytest.fail if os.environ.get("AAR_REQUIRE_ALL") == "1" else pytest.skip)(
            f"{availability.detail}. {availability.remedy}"
        )
    yield made
    left = [row.name for row in await made.list()]
    for name in left:
        await made.remove(name)
    await made.close()
    assert not left


@pytest.fixture
async def backend(bubblewrap: None, home: Path) -> AsyncIterator[SandboxBackend]:
    """A real backend; a test that leaves a sandbox behind fails."""
    made = BubblewrapBackend(distributions=("numpy",))
    yield made
    left = [row.name for row in await made.list()]
    for name in left:
        await made.remove(name)
    await made.close()
    assert not left


@pytest.fixture
def clean_room(backend: SandboxBackend, problem: Problem, desk: Desk, tmp_path: Path) -> Iterator[CleanRoom]:
    """A clean room; a test after which its work folder holds a file fails."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(Path(tempfile.gettempdir())) and folder != Path(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)  # pytest closes its folders; a sandbox's user passes through
    work_dir = tmp_path / "work"
    yield CleanRoom(backend, problem, desk.snapshots, work_dir)
    assert [path for path in work_dir.rglob("*") if not path.is_dir()] == []


@pytest.fixture
async def task(problem: Problem, clean_room: CleanRoom) -> AsyncIterator[Task]:
    async with prepared_bundles(
        problem, clean_room.work_dir, domain="heads", stage=Stage.MEASURE, split_seed=7
    ) as made:
        yield made


@pytest.fixture
def serving(desk: Desk, problem: Problem, clean_room: CleanRoom) -> Serving:
    """A scorer that serves while the block lasts; the second value is its task."""

    @asynccontextmanager
    async def serve(
        limits: Limits | None = None, parallel: int = 2, **kwargs: Any
    ) -> AsyncIterator[tuple[Scorer, asyncio.Task[None]]]:
        ledger = Ledger(desk.db, CAMPAIGN, limits or Limits(), PriceBook())
        await ledger.load()
        scorer = Scorer(
            desk.db, CAMPAIGN, problem, clean_room, ledger, seeds=2, parallel=parallel, secret="s" * 64, **kwargs
        )
        service = asyncio.create_task(scorer.serve())
        try:
            yield scorer, service
        finally:
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)

    return serve


def events(desk: Desk, kind: str) -> list[Any]:
    """The logged events of a kind, oldest first."""
    with desk.db.reading() as session:
        return [logged for logged in read_events(session, CAMPAIGN, limit=5000) if logged.event.kind == kind]
