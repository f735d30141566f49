"""Preflight checks: finds everything that can be wrong before anything is started or spent."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from aar.campaign.directions import Direction, assign_directions, load_directions
from aar.campaign.model_assignment import ModelAssignment, assign_models
from aar.campaign.runtime.incident_buffer import IncidentBuffer
from aar.campaign.spec import CampaignSpec
from aar.errors import SetupError, UsageError
from aar.llm.pricing.model_price import ModelPrice
from aar.llm.pricing.price_book import PriceBook
from aar.problems.plugin_calls import GIVES, call_plugin, probe_problem, read_brief
from aar.problems.protocol import Problem
from aar.problems.registry import find_problem, ships
from aar.sandbox.inventory import choose_backend
from aar.sandbox.leases import Leases
from aar.sandbox.protocol import SandboxBackend
from aar.settings import Settings
from aar.store import open_database
from aar.store.database import Database

_FREE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """The checked requirements of a campaign; nothing has been started."""

    spec: CampaignSpec
    settings: Settings
    problem: Problem
    directions: list[Direction]
    models: ModelAssignment
    prices: PriceBook
    backend: SandboxBackend
    incidents: IncidentBuffer
    database: Database


async def run_preflight(spec: CampaignSpec, settings: Settings) -> CampaignPlan:
    """Find and check everything that a campaign of this spec needs.

    Raises:
        AarError: the first thing that is wrong, with its remedy.
    """
    if not ships(spec.problem):
        await probe_problem(spec.problem)
    problem = find_problem(spec.problem)
    for method in GIVES:  # used in this process from here on
        await call_plugin(problem, method)
    dealt = assign_directions(
        spec, load_directions(Path(spec.directions.file) if spec.directions.file else problem.directions())
    )
    team = assign_models(spec, settings)
    prices = make_price_book(spec)
    for model in team.all_models:
        prices.price(model)
    await call_plugin(problem, "check_data")
    await anyio.to_thread.run_sync(read_brief, problem)
    _check_gpus(spec.sandbox.gpus)
    _check_disk(settings.home)
    database = await anyio.to_thread.run_sync(open_database, spec.database or settings.database_url)
    try:
        incidents = IncidentBuffer()
        backend = await choose_backend(spec.sandbox.backend, incidents)
    except BaseException:
        database.close()
        raise
    return CampaignPlan(spec, settings, problem, dealt, team, prices, backend, incidents, database)


def make_price_book(spec: CampaignSpec) -> PriceBook:
    """Return the price library with the spec's own prices on top."""
    return PriceBook({model: ModelPrice(**price.model_dump()) for model, price in spec.prices.items()})


def _check_gpus(wanted: int) -> None:
    most = Leases().researcher_gpus if wanted else 0
    if wanted > most:
        raise UsageError(
            f"sandbox.gpus is too high: got {wanted} per researcher, expected at most {most}",
            "Lower sandbox.gpus, or check the driver with nvidia-smi",
        )


def _check_disk(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise SetupError(f"cannot use {home}: {error.strerror}", "Set AAR_HOME to a writable folder") from error
    if free < _FREE_BYTES:
        raise SetupError(
            f"only {free // 1024**2} MB free under {home}, a campaign needs {_FREE_BYTES // 1024**2} MB",
            "Free some space or set AAR_HOME to a folder on another disk",
        )
