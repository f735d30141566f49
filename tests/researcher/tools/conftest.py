"""Tools in a real bubblewrap sandbox."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aar.llm.content import ToolCall
from aar.researcher.context import ResearcherContext
from aar.researcher.tools.definitions import INPUTS, ToolResult, ToolRun
from aar.researcher.tools.executor import TOOLS, truncate_result
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.sandbox.protocol import Sandbox, SandboxSpec
from aar.settings import get_settings

from ..conftest import CAMPAIGN, House


@dataclass
class Keeper:
    """Makes the sandbox anew after ``lost``."""

    backend: BubblewrapBackend
    spec: SandboxSpec
    made: int = 0
    causes: list[str] = field(default_factory=list)
    sandbox: Sandbox | None = None

    async def current(self) -> Sandbox:
        if self.sandbox is None:
            self.sandbox = await self.backend.create(self.spec)
            self.made += 1
        return self.sandbox

    async def lost(self, cause: str) -> None:
        self.causes.append(cause)
        if self.sandbox is not None:
            await self.sandbox.destroy()
        self.sandbox = None


@dataclass
class Bench:
    """A researcher's tools at hand."""

    ctx: ResearcherContext
    keeper: Keeper
    workspace: Path
    house: House

    async def use(self, tool: str, *, key: str = "", repeated: bool = False, **given: Any) -> ToolResult:
        """Check the input, run the tool and bound its result, as the toolbox does."""
        checked = INPUTS[tool].model_validate(given)
        run = ToolRun(self.ctx, key or uuid.uuid4().hex, repeated, 0)
        return await truncate_result(self.ctx, ToolCall("x", run.key, tool, given), await TOOLS[tool](run, checked))

    async def text(self, tool: str, **given: Any) -> str:
        """The text of a tool's result."""
        return (await self.use(tool, **given)).text


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sandboxes of a test belong to a home of its own, so that no other test finds or sweeps them."""
    monkeypatch.setenv("AAR_HOME", str(tmp_path_factory.mktemp("home")))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
async def bench(house: House, bubblewrap: None) -> AsyncIterator[Bench]:
    backend = BubblewrapBackend()
    workspace = house.folder / "workspace"
    spec = SandboxSpec(name=f"tools-{uuid.uuid4().hex[:8]}", campaign_id=CAMPAIGN, workspace=workspace)
    keeper = Keeper(backend, spec)
    ctx = await house.context(sandbox=keeper, command_seconds=20.0)
    yield Bench(ctx, keeper, workspace, house)
    await keeper.lost("the test is over")
    await backend.close()
