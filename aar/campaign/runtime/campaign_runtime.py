"""Builds the services that a campaign's researchers share: ledger, snapshots, scorer, gateways, data, mirror."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio.to_thread
import structlog
from anyio import CancelScope

from aar.budget.ledger import Ledger
from aar.campaign.costs.limit_alerts import LimitMonitor
from aar.campaign.lifecycle.ending import StopSignal
from aar.campaign.preflight import CampaignPlan
from aar.campaign.run_timer import RunTimer
from aar.campaign.runtime.model_gateways import GatewayRegistry
from aar.campaign.runtime.orphan_cleanup import SCORING_FOLDER
from aar.campaign.runtime.public_data import PUBLIC_DATA_FOLDER, prepare_public_data
from aar.campaign.runtime.service_restarts import FaultBuffer
from aar.concurrency import best_effort, log_failure
from aar.forum.mirror.forum_mirror import ForumMirror
from aar.sandbox.incidents import BackendOutageMonitor
from aar.sandbox.leases import Leases
from aar.sandbox.protocol import Mount
from aar.scoring.audits.registry import available_audits
from aar.scoring.audits.review.reviewer import Reviewer
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.confirmation.confirmation_queue import CheckPlan
from aar.scoring.scorer import Scorer
from aar.snapshots.store import SnapshotStore

log = structlog.get_logger(__name__)

_LAB = "/lab"
_CLOSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class CampaignRuntime:
    """The shared services, built and open."""

    plan: CampaignPlan
    campaign_id: str
    home: Path
    ledger: Ledger
    gateways: GatewayRegistry
    snapshots: SnapshotStore
    scorer: Scorer
    mirror: ForumMirror
    leases: Leases
    stop: StopSignal
    budget: LimitMonitor
    faults: FaultBuffer
    outages: BackendOutageMonitor
    resting: set[str] = field(default_factory=set)
    """Ids of the researchers that wait for their provider."""

    @property
    def mounts(self) -> list[Mount]:
        """Return the mounts of every researcher's sandbox besides its workspace, all read-only."""
        return [
            Mount(self.home / PUBLIC_DATA_FOLDER, "/data"),
            Mount(self.home / "forum", "/forum"),
            Mount(self.plan.problem.lab(), _LAB),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of every researcher's commands."""
        return {"PYTHONPATH": _LAB}


@asynccontextmanager
async def open_runtime(
    plan: CampaignPlan,
    campaign_id: str,
    secret: str,
    stop: StopSignal,
    clock: RunTimer,
    faults: FaultBuffer,
    *,
    patient: bool = False,
) -> AsyncIterator[CampaignRuntime]:
    """Build the shared services of a campaign, and close them at the end.

    Args:
        secret: the campaign's own; seeds of scoring runs and of offline researchers are drawn from it.
        stop: the campaign's stop signal.
        clock: its wall clock.
        faults: receives the errors of the team's services.
        patient: whether to wait for a provider that is out of reach.
    """
    db, home = plan.database, plan.settings.campaign_dir(campaign_id)
    await anyio.to_thread.run_sync(_make_private, home)
    ledger = Ledger(db, campaign_id, plan.spec.limits, plan.prices)
    snapshots = SnapshotStore(home / "snapshots")
    budget = LimitMonitor(db, campaign_id, ledger, clock)
    mirror = ForumMirror(db, campaign_id, home / "forum")
    leases = Leases()
    engine = "Docker engine" if plan.backend.name == "docker" else "sandbox backend"
    outages = BackendOutageMonitor(plan.spec.sandbox.patience_minutes * 60, partial(faults.add_fault, engine))
    scoring = plan.spec.scoring
    endpoints = GatewayRegistry(
        plan, seed=int(secret[:8], 16), tell=faults.add_event, time_left=lambda: clock.left, patient=patient
    )
    scorer = Scorer(
        db,
        campaign_id,
        plan.problem,
        CleanRoom(plan.backend, plan.problem, snapshots, home / SCORING_FOLDER, leases, plan.incidents, outages),
        ledger,
        seeds=scoring.seeds or plan.problem.default_seeds,
        parallel=scoring.parallel or max(1, int(len(leases.scoring_cores) / plan.problem.run_limits.cpus)),
        secret=secret,
        audits=available_audits(
            noise_levels=scoring.noise_levels,
            extra=[Reviewer(db, ledger, plan.models.reviewer, endpoints.gateway)],
        ),
        plan=CheckPlan(
            confirm_seeds=scoring.confirm_seeds or scoring.seeds or plan.problem.default_seeds,
            audit_seeds=scoring.audit_seeds,
            top=max(1, scoring.confirm_top),
            leaders=scoring.confirm_top > 0,
        ),
    )
    try:
        async with asyncio.TaskGroup() as opening:
            opening.create_task(ledger.load())
            opening.create_task(mirror.sync())
            opening.create_task(prepare_public_data(plan.problem, plan.spec.problem, home))
            opening.create_task(endpoints.open())
        yield CampaignRuntime(
            plan,
            campaign_id,
            home,
            ledger,
            endpoints,
            snapshots,
            scorer,
            mirror,
            leases,
            stop,
            budget,
            faults,
            outages,
        )
    finally:
        # The work's outcome is known. A connection cannot change it, so the wait for it is bounded.
        await best_effort(
            endpoints.close(), log_failure("could not close the connections to models"), seconds=_CLOSE_SECONDS
        )
        await _write_off(ledger)


async def _write_off(ledger: Ledger) -> None:
    """Charge unended calls and scoring runs at their reservation.

    So nothing stays reserved.
    """
    with CancelScope(shield=True):
        try:
            if left := await ledger.write_off():
                log.warning("reservations were left open; they are charged at their worst case", reservations=left)
        except Exception as error:  # noqa: BLE001 - the ending is known; the next controller handles the rest
            log.warning("could not charge the open reservations", error=str(error))


def _make_private(home: Path) -> None:
    """Make the campaign's folder private to its owner.

    Sandboxes see only the folders mounted into them.
    """
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
