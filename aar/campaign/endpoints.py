"""The model endpoints of a campaign: one gateway to each service that its team calls."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from aar.campaign.model_choice import OFFLINE_MODEL
from aar.campaign.preflight import Plan
from aar.researcher.gateway import Gateway
from aar.researcher.offline.launch import offline_server


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
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Open them. Raises ModelUnavailable where the offline model server does not start."""
        async with asyncio.TaskGroup() as opening:
            opening.create_task(Gateway(base_url=None, api_key=None).warm_up())
            opening.create_task(self._open_gateways())

    async def close(self) -> None:
        """Close what was opened; safe after a failed ``open``."""
        await self._stack.aclose()

    async def _open_gateways(self) -> None:
        team, spec = self._plan.team, self._plan.spec
        if team.offline:
            address = await self._stack.enter_async_context(offline_server(self._seed))
            self._keep(OFFLINE_MODEL, Gateway(base_url=address, api_key=None))
        if team.paid:
            claude = Gateway(base_url=spec.researchers.base_url, api_key=self._plan.settings.anthropic_api_key)
            for model in dict.fromkeys(team.models):
                if model != OFFLINE_MODEL:
                    self._keep(model, claude)

    def _keep(self, model: str, gateway: Gateway) -> None:
        if gateway not in self._gateways.values():
            self._stack.push_async_callback(gateway.close)
        self._gateways[model] = gateway

    def gateway(self, model: str) -> Gateway:
        """The gateway for a model of the team."""
        return self._gateways[model]
