"""The model endpoints of a campaign: one gateway to each service that its team calls."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from aar.campaign.model_choice import OFFLINE_MODEL
from aar.campaign.preflight import Plan
from aar.researcher.abilities import PLAIN, Abilities
from aar.researcher.context import Fallback
from aar.researcher.gateway import Gateway
from aar.researcher.offline.launch import offline_server
from aar.researcher.providers import Provider, Service


class Endpoints:
    """Opens the gateways that a plan needs, the offline model server included, and closes them again.

    Args:
        plan: names the team's models.
        seed: of the offline researchers.
    """

    def __init__(self, plan: Plan, *, seed: int) -> None:
        self._plan = plan
        self._seed = seed
        self._gateways: dict[str, Gateway] = {}
        self._abilities: dict[str, Abilities] = {}
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Open them, and ask each service what its models can do.

        Raises:
            ModelUnavailable: the offline model server does not start.
            KeyRefused: a key is wrong.
            SetupError, UsageError: a provider's library or credentials are absent.
        """
        async with asyncio.TaskGroup() as opening:
            opening.create_task(Gateway(base_url=None, api_key=None).warm_up())
            opening.create_task(self._open_gateways())

    async def close(self) -> None:
        """Close what was opened; safe after a failed ``open``."""
        await self._stack.aclose()

    async def _open_gateways(self) -> None:
        team, spec = self._plan.team, self._plan.spec
        if OFFLINE_MODEL in team.all_models:
            address = await self._stack.enter_async_context(offline_server(self._seed))
            self._keep(OFFLINE_MODEL, Gateway(base_url=address, api_key=None))
        services: dict[Provider, Gateway] = {}
        for model, provider in team.providers.items():
            if provider not in services:
                key = self._plan.settings.claude_key if provider == "anthropic" else None
                service = Service(provider, spec.researchers.base_url, key, spec.researchers.region)
                services[provider] = Gateway(service)
            self._keep(model, services[provider])
        async with asyncio.TaskGroup() as asking:
            for model in team.providers:
                asking.create_task(self._ask(model))

    async def _ask(self, model: str) -> None:
        self._abilities[model] = await self._gateways[model].abilities(model)

    def _keep(self, model: str, gateway: Gateway) -> None:
        if gateway not in self._gateways.values():
            self._stack.push_async_callback(gateway.close)
        self._gateways[model] = gateway

    def gateway(self, model: str) -> Gateway:
        """The gateway for a model of the team."""
        return self._gateways[model]

    def abilities(self, model: str) -> Abilities:
        """What a model of the team can do beyond plain messages."""
        return self._abilities.get(model, PLAIN)

    def fallback(self, model: str) -> Fallback | None:
        """Whom to ask when a model is unavailable; None where nobody is named, or it is that very model."""
        other = self._plan.team.fallback
        return None if other is None or other == model else Fallback(other, self._gateways[other])
