"""Collects the audits of a campaign and runs them: on code before it runs, on scores at a confirmation."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from secrets import token_hex

import anyio.to_thread
import structlog
from anyio import CancelScope
from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.concurrency import best_effort
from aar.errors import AarError, BoundExceeded, SandboxError, SetupError
from aar.problems.protocol import Problem, supports_corruption
from aar.sandbox.incidents import report_left_behind
from aar.scoring.audits.audit_findings import record_finding
from aar.scoring.audits.protocol import Audit, AuditInput, AuditResult, AuditStage, AuditVerdict, PhaseScores
from aar.scoring.audits.score_audits import CoordinatesAudit, LabelNoiseAudit, SplitSensitivityAudit, TeacherAudit
from aar.scoring.audits.static_audit import StaticAudit, check_code
from aar.scoring.cleanroom import run_sandbox
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.phases import CONFIRM, MEASURE, Phase
from aar.scoring.submission_status import disqualify
from aar.scoring.submissions import SubmissionView
from aar.store.database import Database
from aar.store.event_log import lock_campaign
from aar.store.models import AuditFinding, Submission
from aar.workers.worker_pool import warm_up

log = structlog.get_logger(__name__)

AUDIT_ENTRY_POINTS = "aar.audits"


def available_audits(*, noise_levels: Sequence[float], extra: Sequence[Audit] = ()) -> list[Audit]:
    """Return the audits of a campaign, those that read code first.

    An installed package brings one by an entry point of the group ``aar.audits`` that names a class made without
    arguments.

    Args:
        noise_levels: shares of the teacher's labels to turn round, above 0 and at most one half.
        extra: audits that need something of the campaign's, such as the reviewer its model.

    Raises:
        SetupError: a plug-in cannot be loaded, does not implement ``Audit``, or takes a name that is in use.
    """
    shipped: list[Audit] = [
        StaticAudit(),
        TeacherAudit(),
        LabelNoiseAudit(noise_levels),
        SplitSensitivityAudit(),
        CoordinatesAudit(),
    ]
    installed = sorted(entry_points(group=AUDIT_ENTRY_POINTS), key=lambda entry: entry.name)
    audits = [*shipped, *extra, *map(_load_audit, installed)]
    twice = [name for name, times in Counter(audit.name for audit in audits).items() if times > 1]
    if twice:
        raise SetupError(
            f"audit name is not unique: got {twice[0]!r} twice",
            f"Give the one in the entry points {AUDIT_ENTRY_POINTS!r} another name",
        )
    return sorted(audits, key=lambda audit: audit.stage is not AuditStage.SUBMITTED)


def _load_audit(entry: EntryPoint) -> Audit:
    package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    what = f"audit {entry.name!r} ({entry.value}){package}"
    try:
        made = entry.load()()
    except Exception as error:
        raise SetupError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}",
            "Update or uninstall the package that contains it",
        ) from error
    if isinstance(made, Audit) and isinstance(made.stage, AuditStage):
        return made
    missing = [name for name in ("name", "stage", "phases", "judge") if not hasattr(made, name)]
    lacks = f"lacks {', '.join(missing)}" if missing else "has no AuditStage as its stage"
    raise SetupError(f"{what} {lacks}", "Implement aar.scoring.audits.protocol.Audit")


class AuditRunner:
    """Runs the audits of one campaign's submissions and stores their findings.

    Args:
        clean_room: gives the frozen code, and the folder in which it is laid out while it is read.
    """

    def __init__(self, db: Database, problem: Problem, clean_room: CleanRoom, audits: Sequence[Audit]) -> None:
        self._db = db
        self._problem = problem
        self._clean_room = clean_room
        self._static = [audit for audit in audits if audit.stage is AuditStage.SUBMITTED]
        self._confirming = [audit for audit in audits if audit.stage is AuditStage.CONFIRMED]

    @property
    def has_static_audits(self) -> bool:
        """Return True if any audit reads code before it is run."""
        return bool(self._static)

    async def warm_up(self) -> None:
        """Start the process that reads code, so that the first submission does not wait."""
        if any(isinstance(audit, StaticAudit) for audit in self._static):
            with suppress(BoundExceeded):
                await anyio.to_thread.run_sync(warm_up, check_code, abandon_on_cancel=True)

    def phases(self) -> list[Phase]:
        """Return the runs that audits need beside measurement and confirmation."""
        named = [phase for audit in self._confirming for phase in audit.phases(self._problem)]
        return [
            phase
            for phase in dict.fromkeys(named)
            if phase not in (MEASURE, CONFIRM)
            and (phase.corruption is None or supports_corruption(self._problem, phase.corruption))
        ]

    async def run_static(self, submission: SubmissionView) -> None:
        """Run the static audits and store their findings; a disqualification holds the submission.

        An audit that answered before is not run again: a restart costs nothing twice, and a reinstated submission is
        not disqualified for the same reason again.
        """
        answered = await self._db.read(
            lambda session: set(
                session.scalars(select(AuditFinding.audit).where(AuditFinding.submission_id == submission.id))
            )
        )
        audits = [audit for audit in self._static if audit.name not in answered]
        for finding in await self._judge(audits, submission, {}):
            await self._db.write(partial(self._store, submission_id=submission.id, finding=finding))

    async def run_confirmation(
        self, submission: SubmissionView, phases: Mapping[str, PhaseScores]
    ) -> list[AuditResult]:
        """Return the findings of a confirmation's audits; the caller stores them."""
        return await self._judge(self._confirming, submission, phases)

    async def _judge(
        self, audits: Sequence[Audit], submission: SubmissionView, phases: Mapping[str, PhaseScores]
    ) -> list[AuditResult]:
        if not audits:
            return []
        async with self._laid_out(submission.digest, submission.campaign_id) as code:
            dossier = AuditInput(
                campaign_id=submission.campaign_id,
                number=submission.number,
                title=submission.title,
                claim=submission.claim,
                hypothesis=submission.hypothesis,
                families=submission.families,
                code=code,
                problem=self._problem,
                phases=phases,
            )
            return [await _answer(audit, dossier) for audit in audits]

    @asynccontextmanager
    async def _laid_out(self, digest: str, campaign_id: str) -> AsyncIterator[Path]:
        if self._clean_room.snapshots is None:
            raise SandboxError("this clean room has no snapshot store", "Give it one, or no audits")
        folder = self._clean_room.work_dir / "runs" / f"audit-{token_hex(8)}"
        try:
            folder.mkdir(parents=True)
            await anyio.to_thread.run_sync(self._clean_room.snapshots.materialise, digest, folder / "method")
            yield folder / "method"
        finally:
            with CancelScope(shield=True):
                await best_effort(
                    anyio.to_thread.run_sync(run_sandbox.remove_run_folder, folder),
                    partial(report_left_behind, self._clean_room.on_incident, folder.name, campaign_id),
                )

    def _store(self, session: Session, submission_id: int, finding: AuditResult) -> None:
        submission = session.get_one(Submission, submission_id)
        lock_campaign(session, submission.campaign_id)
        session.refresh(submission)
        record_finding(session, submission, finding)
        if finding.verdict is AuditVerdict.DISQUALIFIED and not submission.disqualified:
            disqualify(session, submission_id, finding.rule, finding.reason, finding.audit)


async def _answer(audit: Audit, dossier: AuditInput) -> AuditResult:
    try:
        return await audit.judge(dossier)
    except AarError as error:
        cause = error.message
    except Exception as error:  # noqa: BLE001
        # The plug-in read an adversary's files. Its error's text may quote hidden data, so only the kind is stored.
        log.warning("an audit broke", audit=audit.name, submission=dossier.number, error=type(error).__name__)
        cause = f"the audit itself failed ({type(error).__name__})"
    note = f"not carried out: {audit.name}"[:64]
    return AuditResult(audit.name, AuditVerdict.SKIPPED, note, f"not carried out: {cause}")
