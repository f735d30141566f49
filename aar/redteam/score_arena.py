"""The arena of score attacks: three researchers with a real database and scorer.

Its clean room and API are real too.

``r1`` attacks; ``r2`` and ``r3`` are other researchers. Everything lies in one folder, and nothing is left when the
arena closes.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from sqlalchemy import select

from aar.auth.tokens import issue_token
from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.price_book import PriceBook
from aar.problems.protocol import Problem, version_of
from aar.redteam.campaign_rows import add_campaign
from aar.redteam.direct_runs import DRAWS, DirectRuns
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditVerdict
from aar.scoring.audits.score_audits import CoordinatesAudit, TeacherAudit
from aar.scoring.audits.static_audit import StaticAudit
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.confirmation_queue import CheckPlan, list_checks, request_check
from aar.scoring.method_manifest import read_manifest
from aar.scoring.phases import CONFIRMATION
from aar.scoring.scorer import Scorer
from aar.scoring.submissions import SubmissionView, submit
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.store.models import AuditFinding, Campaign, ScoringRun, Snapshot, Submission

_WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.2
T = TypeVar("T")
Rows = dict[tuple[str, str], tuple[Any, ...]]


@dataclass(slots=True)
class ScoreArena:
    """The arena of one suite of attacks.

    Args:
        submissions: the number that a patient attacker submits.
        seeds: fresh seeds of a measurement, and draws of the sealed split.
        honest: directory of the shipped baseline that attacks start from.
        say: called with the current step.
        reading: whether submissions are read before they run. A static reading can be evaded with enough effort, so
            attacks at run time go without one.
    """

    problem: Problem
    backend: SandboxBackend
    folder: Path
    honest: Path
    submissions: int
    seeds: int
    parallel: int = 2
    say: Callable[[str], None] = lambda _: None
    reading: bool = False
    campaign: str = field(default_factory=lambda: f"a{secrets.token_hex(4)}")
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    tokens: dict[str, str] = field(default_factory=dict)
    _service: asyncio.Task[None] | None = None
    _made: int = 0
    db: Database = field(init=False)
    snapshots: SnapshotStore = field(init=False)
    room: CleanRoom = field(init=False)
    runs: DirectRuns = field(init=False)
    scorer: Scorer = field(init=False)

    def researcher(self, index: int) -> str:
        """Return the id of r1, r2 or r3."""
        return f"{self.campaign}-r{index}"

    def method(self, code: str, files: Mapping[str, str | bytes] | None = None, *, title: str = "A method") -> Path:
        """Write a method's directory: ``run.py``, the honest method, and ``files``.

        ``run.py`` runs the honest method by ``import honest``.
        """
        self._made += 1
        target = self.folder / "methods" / str(self._made)
        shutil.copytree(self.honest, target, ignore=shutil.ignore_patterns("__pycache__"))
        honest = (target / "run.py").read_text(encoding="utf-8").replace('if __name__ == "__main__":', "if True:")
        (target / "honest.py").write_text(honest, encoding="utf-8")
        (target / "run.py").write_text(code, encoding="utf-8")
        (target / "method.yaml").write_text(f"title: {title}\nclaim: It works better.\nfamilies: [other]\n")
        for name, content in (files or {}).items():
            (target / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(0o755)
        return target

    def submit(self, source: Path, researcher: int = 1, key: str | None = None) -> SubmissionView:
        """Submit a method, as the tool does."""
        saved = self.snapshots.save(source)
        with self.db.writing() as session:
            return submit(
                session,
                campaign_id=self.campaign,
                researcher_id=self.researcher(researcher),
                saved=saved,
                manifest=read_manifest(source),
                idempotency_key=key,
            )

    async def scored(self, source: Path, researcher: int = 1) -> SubmissionView:
        """Submit a method and wait for the real scorer's verdict."""
        return await self.verdict_on(self.submit(source, researcher).number)

    async def verdict_on(self, number: int) -> SubmissionView:
        """Wait for the scorer's verdict on a submission.

        Raises the error that ended the scorer, if it ended.
        """
        waiting = asyncio.ensure_future(self.scorer.wait_for(number, _WAIT_SECONDS))
        return await self._unless_ended(waiting)

    async def quiet(self) -> None:
        """Wait until every submission has its verdict."""
        await self._unless_ended(asyncio.ensure_future(self.scorer.drain()))

    async def confirmed(self, number: int) -> SubmissionView:
        """Confirm a measured submission for real, with the audits' own runs."""
        view = await self.verdict_on(number)
        with self.db.writing() as session:
            check = request_check(session, self.campaign, view.id, CONFIRMATION, "attack suite", "human:suite")
        while check.state in ("queued", "running"):
            await self._unless_ended(asyncio.ensure_future(self.scorer.wait_for(number, 0)))
            await asyncio.sleep(_POLL_SECONDS)
            with self.db.reading() as session:
                check = next(each for each in list_checks(session, self.campaign, check.submission_id))
        return await self.verdict_on(number)

    async def _unless_ended(self, waiting: asyncio.Future[T]) -> T:
        if self._service is None:
            self._service = asyncio.create_task(self.scorer.serve())
        both: set[asyncio.Future[Any]] = {waiting, self._service}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if self._service.done():
            waiting.cancel()
            await self._service
        return await waiting

    def findings(self, number: int) -> tuple[str, str]:
        """Return the audits' findings: disqualifying rules, and flagging or labelling rules."""
        with self.db.reading() as session:
            row = session.scalars(
                select(Submission).where(Submission.campaign_id == self.campaign, Submission.number == number)
            ).one()
            findings = session.scalars(select(AuditFinding).where(AuditFinding.submission_id == row.id)).all()
            stopped = [row.disqualified] if row.disqualified else []
        if row.status == "refuted":
            stopped.append("refuted at confirmation")
        noted = [each.rule or each.audit for each in findings if each.verdict in ("flagged", "labelled")]
        return ", ".join(dict.fromkeys(stopped)), ", ".join(dict.fromkeys(noted))

    def client(self) -> httpx.AsyncClient:
        """Return a client of the real web application over the arena's database.

        Rate limits are off: they would hide the refusals of the routes themselves.
        """
        from aar.web.app import create_app
        from aar.web.rate_limit import RateLimit, RateLimits

        often = RateLimit(10**9, 1.0)
        app = create_app(
            self.db,
            home=self.folder / "home",
            campaign_id=self.campaign,
            snapshots=self.snapshots,
            rates=RateLimits(refused=often, address=often, credential=often),
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def bearer(self, researcher: int = 1) -> dict[str, str]:
        """Return the header with a researcher's own token."""
        return {"Authorization": f"Bearer {self.tokens[self.researcher(researcher)]}"}

    async def _open(self) -> None:
        self.folder.chmod(0o711)
        (self.folder / "methods").mkdir()
        self.db = open_database(f"sqlite:///{self.folder / 'aar.db'}")
        with self.db.writing() as session:
            team = add_campaign(session, self.campaign, problem_version=version_of(self.problem))
            session.get_one(Campaign, self.campaign).secret = self.secret
            self.tokens = {each: issue_token(session, each) for each in team}
        self.snapshots = SnapshotStore(self.folder / "snapshots")
        self.room = CleanRoom(self.backend, self.problem, self.snapshots, self.folder / "work")
        self.runs = DirectRuns(self.problem, self.room, self.honest, self.campaign, self.seeds, self.parallel)
        # The scorer sweeps its work folder when it starts: it has one of its own.
        room = CleanRoom(self.backend, self.problem, self.snapshots, self.folder / "scorer")
        ledger = Ledger(self.db, self.campaign, Limits(), PriceBook())
        await ledger.load()
        self.scorer = Scorer(
            self.db,
            self.campaign,
            self.problem,
            room,
            ledger,
            seeds=2,
            parallel=self.parallel,
            secret=DRAWS,
            audits=(SelectiveStaticAudit(self), TeacherAudit(), CoordinatesAudit()),
            plan=CheckPlan(confirm_seeds=2, audit_seeds=2),
        )

    async def _close(self) -> None:
        if self._service is not None:
            self._service.cancel()
            await asyncio.gather(self._service, return_exceptions=True)
        await self.runs.close()
        for row in await self.backend.list(self.campaign):
            await self.backend.remove(row.name)
        self.db.close()


class SelectiveStaticAudit(StaticAudit):
    """A static audit that reads only where the current attack is about it."""

    def __init__(self, arena: ScoreArena) -> None:
        self._arena = arena

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Read the code, or report that it was not read."""
        if self._arena.reading:
            return await super().judge(dossier)
        return AuditResult(self.name, AuditVerdict.SKIPPED, "", "this attack is made as if it had evaded the reading")


@asynccontextmanager
async def open_score_arena(arena: ScoreArena) -> AsyncIterator[ScoreArena]:
    """Open an arena while the block lasts; nothing of it runs afterwards.

    Its folder may then be removed.
    """
    await arena._open()
    try:
        yield arena
    finally:
        await arena._close()


def snapshot_rows(arena: ScoreArena) -> Rows:
    """Return every row of submissions, scoring runs and snapshots, by table and key."""
    rows: Rows = {}
    with arena.db.reading() as session:
        for model in (Submission, ScoringRun, Snapshot):
            for row in session.execute(select(model.__table__)).mappings():
                name = str([row[column.name] for column in model.__table__.primary_key])
                rows[model.__tablename__, name] = tuple(map(repr, row.values()))
    return rows


def changed_rows(before: Rows, after: Rows) -> list[str]:
    """List the rows that were changed or removed between two snapshots, not added ones."""
    return [f"{table} {key} changed" for (table, key), row in before.items() if after.get((table, key)) != row]
