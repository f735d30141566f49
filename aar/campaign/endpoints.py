"""The model endpoints of a campaign: one gateway to each service that its team calls."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType

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

    async def __aenter__(self) -> Endpoints:
        team, spec = self._plan.team, self._plan.spec
        try:
            if team.offline:
                address = await self._stack.enter_async_context(offline_server(self._seed))
                self._gateways[OFFLINE_MODEL] = Gateway(base_url=address, api_key=None)
            if team.paid:
                claude = Gateway(base_url=spec.researchers.base_url, api_key=self._plan.settings.anthropic_api_key)
                for model in team.models:
                    self._gateways.setdefault(model, claude)
        except BaseException:
            await self._stack.aclose()
            raise
        for gateway in {id(gateway): gateway for gateway in self._gateways.values()}.values():
            self._stack.push_async_callback(gateway.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def gateway(self, model: str) -> Gateway:
        """The gateway for a model of the team."""
        return self._gateways[model]
