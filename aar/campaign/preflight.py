"""Preflight checks: finds everything that can be wrong before anything is started or spent.

Among them is the model and the endpoint of each researcher.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from aar.campaign.controller.service_restarts import IncidentBuffer
from aar.campaign.directions import Direction, assign_directions, load_directions
from aar.campaign.spec import AUTO, CampaignSpec
from aar.errors import SetupError, UsageError
from aar.llm.endpoints import Provider
from aar.llm.price_book import CLAUDE_MODEL, OFFLINE_MODEL, PriceBook
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
class ModelAssignment:
    """The models of a campaign.

    Args:
        models: model ids by researcher, in order.
        fallback: the model to call when another is unavailable.
        providers: the provider of each model that is not offline.
        reviewer: the model that reviews the code of confirmed submissions; None if no Claude model is called.
    """

    models: tuple[str, ...]
    fallback: str | None = None
    providers: Mapping[str, Provider] = field(default_factory=dict)
    reviewer: str | None = None

    @property
    def all_models(self) -> tuple[str, ...]:
        """Return each model that may be called, once."""
        return tuple(dict.fromkeys([*self.models, *filter(None, (self.fallback, self.reviewer))]))

    @property
    def uses_paid_service(self) -> bool:
        """Return whether any model is at a service that may cost money."""
        return any(model != OFFLINE_MODEL for model in self.all_models)


def assign_models(spec: CampaignSpec, settings: Settings) -> ModelAssignment:
    """Assign a model to each researcher.

    Raises:
        UsageError: a model needs a key and there is none.
    """
    has_key = settings.claude_key is not None
    options = spec.researchers
    default = CLAUDE_MODEL if has_key and options.provider == "anthropic" else OFFLINE_MODEL
    models: list[str] = []
    providers: dict[str, Provider] = {}
    for index in range(1, options.count + 1):
        override = options.overrides.get(index)
        named = (override.model if override else None) or options.model
        model = default if named == AUTO else named
        models.append(model)
        provider = (override.provider if override else None) or options.provider
        if model != OFFLINE_MODEL and providers.setdefault(model, provider) != provider:
            raise UsageError(
                f"researcher {index} calls {model} at {provider}, another one at {providers[model]}",
                "Give each model one provider; Bedrock and Vertex spell their ids differently anyway",
            )
    if options.fallback is not None and options.fallback != OFFLINE_MODEL:
        providers.setdefault(options.fallback, options.provider)
    reviewer = spec.scoring.reviewer or next(iter(providers), None)
    if reviewer is not None:
        providers.setdefault(reviewer, options.provider)
    needy = next((model for model, provider in providers.items() if provider == "anthropic"), None)
    if needy is not None and not has_key and options.base_url is None:
        raise UsageError(
            f"model {needy} needs a key and ANTHROPIC_API_KEY is not set",
            f"Set ANTHROPIC_API_KEY or AAR_ANTHROPIC_API_KEY_FILE, or use --model {OFFLINE_MODEL} for the keyless "
            "search baseline",
        )
    return ModelAssignment(tuple(models), options.fallback, providers, reviewer)


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
    directions = assign_directions(
        spec, load_directions(Path(spec.directions.file) if spec.directions.file else problem.directions())
    )
    team = assign_models(spec, settings)
    prices = spec.price_book()
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
    return CampaignPlan(spec, settings, problem, directions, team, prices, backend, incidents, database)


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
