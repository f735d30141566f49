"""Builds the services that a campaign's researchers share: ledger, snapshots, scorer, gateways, data, mirror."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio.to_thread
import structlog
from anyio import CancelScope

from aar.budget.ledger import Ledger
from aar.campaign.controller.control_loop import LimitMonitor
from aar.campaign.controller.orphan_cleanup import SCORING_FOLDER
from aar.campaign.controller.public_data import PUBLIC_DATA_FOLDER, prepare_public_data
from aar.campaign.controller.service_restarts import FaultBuffer
from aar.campaign.lifecycle import StopSignal
from aar.campaign.preflight import CampaignPlan
from aar.campaign.running_time import RunTimer
from aar.concurrency import best_effort, log_failure
from aar.errors import GatewayError, SetupError
from aar.events import AnyEvent
from aar.forum.mirror import ForumMirror
from aar.llm.api_errors import RetryPolicy, ServiceUnreachable
from aar.llm.capabilities import NO_CAPABILITIES, ModelCapabilities
from aar.llm.concurrency_limiter import AdaptiveLimiter, LimiterPolicy, ServiceOutageMonitor
from aar.llm.endpoints import ModelEndpoint, Provider
from aar.llm.gateway import Gateway
from aar.llm.price_book import OFFLINE_MODEL
from aar.researcher.context import FallbackModel
from aar.researcher.offline.server_process import run_offline_server
from aar.sandbox.incidents import BackendOutageMonitor
from aar.sandbox.leases import Leases
from aar.sandbox.protocol import Mount
from aar.scoring.audits.audit_runner import available_audits
from aar.scoring.audits.reviewer import Reviewer
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.confirmation_queue import CheckPlan
from aar.scoring.scorer import Scorer
from aar.snapshots.store import SnapshotStore

log = structlog.get_logger(__name__)

_LAB = "/lab"
_CLOSE_SECONDS = 15.0


class GatewayRegistry:
    """Opens the gateways of a plan, including the offline model server, and closes them.

    Args:
        plan: names the team's models.
        seed: of the offline researchers.
        on_event: receives events about a provider that does not answer.
        time_left: seconds that the campaign may still run.
        patient: whether ``open`` waits for a provider that does not answer, as calls do; else it fails at once.
    """

    def __init__(
        self,
        plan: CampaignPlan,
        *,
        seed: int,
        on_event: Callable[[AnyEvent], None],
        time_left: Callable[[], float],
        patient: bool,
    ) -> None:
        self._on_event = on_event
        self._patient = patient
        self._time_left = time_left
        self._on_recovery: Callable[[], None] = lambda: None
        self._plan = plan
        self._seed = seed
        self._gateways: dict[str, Gateway] = {}
        self._capabilities: dict[str, ModelCapabilities] = {}
        self._services: dict[Provider, Gateway] = {}
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Open the gateways, and read the capabilities of their models.

        Raises:
            ModelUnavailable: the offline model server does not start.
            KeyRefused: a key is wrong.
            ServiceUnreachable: no server answers at an address.
            SetupError, UsageError: a provider's library or credentials are absent.
        """
        async with asyncio.TaskGroup() as opening:
            opening.create_task(Gateway(base_url=None, api_key=None).warm_up())
            opening.create_task(self._open_gateways())

    async def close(self) -> None:
        """Close the gateways; safe after a failed ``open``."""
        await self._stack.aclose()

    async def _open_gateways(self) -> None:
        team = self._plan.models
        if OFFLINE_MODEL in team.all_models:
            await self._open_offline()
        for model, provider in team.providers.items():
            self._register(model, self._model_endpoint(provider))
        async with asyncio.TaskGroup() as asking:
            for model in team.providers:
                asking.create_task(self._ask_patiently(model) if self._patient else self._query_model(model))

    async def _open_offline(self) -> None:
        address = await self._stack.enter_async_context(run_offline_server(self._seed))
        self._register(OFFLINE_MODEL, Gateway(base_url=address, api_key=None))

    def _model_endpoint(self, provider: Provider) -> Gateway:
        if provider not in self._services:
            options = self._plan.spec.researchers
            patience = 60 * options.patience_minutes
            key = self._plan.settings.claude_key if provider == "anthropic" else None
            service = ModelEndpoint(provider, options.base_url, key, options.region)
            gateway = Gateway(
                service,
                policy=RetryPolicy(deadline=patience),
                limiter=AdaptiveLimiter(LimiterPolicy.within(patience), time_left=self._time_left),
                outages=ServiceOutageMonitor(service.display_url, self._on_event),
            )
            gateway.outages.on_recovery = lambda: self._on_recovery()
            self._services[provider] = gateway
        return self._services[provider]

    def on_recovery(self, callback: Callable[[], None]) -> None:
        """Register a callback for the recovery of a provider that did not answer."""
        self._on_recovery = callback

    @property
    def current_outage(self) -> GatewayError | None:
        """Return the current error of calls, if a provider's last call failed."""
        return next((gateway.outages.error for gateway in self._services.values() if gateway.outages.error), None)

    async def _query_model(self, model: str) -> None:
        self._capabilities[model] = await self._gateways[model].capabilities(model)

    async def _ask_patiently(self, model: str) -> None:
        started, tries = time.monotonic(), 0
        policy = RetryPolicy(deadline=60 * self._plan.spec.researchers.patience_minutes)
        while True:
            try:
                await self._query_model(model)
                return
            except ServiceUnreachable as error:
                tries += 1
                pause = policy.delay(tries, time.monotonic() - started)
                if pause is None:
                    raise
                self._gateways[model].outages.record_failure(error, pause)
            await asyncio.sleep(pause)

    def _register(self, model: str, gateway: Gateway) -> None:
        if gateway not in self._gateways.values():
            self._stack.push_async_callback(gateway.close)
        self._gateways[model] = gateway

    async def open_model(self, model: str) -> None:
        """Open the gateway of a model that joined a running team.

        Raises:
            ModelUnavailable: the offline model server does not start.
            KeyRefused: the key is wrong.
            SetupError, UsageError: a provider's library or credentials are absent.
        """
        async with self._opening:
            if model in self._gateways:
                return
            if model == OFFLINE_MODEL:
                await self._open_offline()
                return
            options = self._plan.spec.researchers
            if options.provider == "anthropic" and options.base_url is None and self._plan.settings.claude_key is None:
                raise SetupError(
                    f"model {model} needs a key and the controller has none",
                    "Pause the campaign and resume it with ANTHROPIC_API_KEY set",
                )
            self._register(model, self._model_endpoint(options.provider))
            with suppress(ServiceUnreachable):  # its callers wait
                await self._query_model(model)

    def gateway(self, model: str) -> Gateway:
        """Return the gateway for a model of the team."""
        return self._gateways[model]

    def capabilities(self, model: str) -> ModelCapabilities:
        """Return the capabilities of a model of the team beyond plain messages."""
        return self._capabilities.get(model, NO_CAPABILITIES)

    def fallback(self, model: str) -> FallbackModel | None:
        """Return the fallback of a model.

        It is None without one, or if it is that very model.
        """
        fallback = self._plan.models.fallback
        return None if fallback is None or fallback == model else FallbackModel(fallback, self._gateways[fallback])


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
    timer: RunTimer
    limit_monitor: LimitMonitor
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
    timer: RunTimer,
    faults: FaultBuffer,
    *,
    patient: bool,
) -> AsyncIterator[CampaignRuntime]:
    """Build the shared services of a campaign, and close them at the end.

    Args:
        secret: the campaign's own; seeds of scoring runs and of offline researchers are drawn from it.
        stop: the campaign's stop signal.
        timer: its time limit.
        faults: receives the errors of the team's services.
        patient: whether to wait for a provider that is out of reach.
    """
    db, home = plan.database, plan.settings.campaign_dir(campaign_id)
    await anyio.to_thread.run_sync(_make_private, home)
    ledger = Ledger(db, campaign_id, plan.spec.limits, plan.prices)
    snapshots = SnapshotStore(home / "snapshots")
    limit_monitor = LimitMonitor(db, campaign_id, ledger, timer)
    mirror = ForumMirror(db, campaign_id, home / "forum")
    leases = Leases()
    engine = "Docker engine" if plan.backend.name == "docker" else "sandbox backend"
    outages = BackendOutageMonitor(plan.spec.sandbox.patience_minutes * 60, partial(faults.add_fault, engine))
    scoring = plan.spec.scoring
    gateways = GatewayRegistry(
        plan, seed=int(secret[:8], 16), on_event=faults.add_event, time_left=lambda: timer.left, patient=patient
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
            extra=[Reviewer(db, ledger, plan.models.reviewer, gateways.gateway)],
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
            opening.create_task(gateways.open())
        yield CampaignRuntime(
            plan,
            campaign_id,
            home,
            ledger,
            gateways,
            snapshots,
            scorer,
            mirror,
            leases,
            stop,
            timer,
            limit_monitor,
            faults,
            outages,
        )
    finally:
        # The work's outcome is known. A connection cannot change it, so the wait for it is bounded.
        await best_effort(
            gateways.close(), log_failure("could not close the connections to models"), seconds=_CLOSE_SECONDS
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
