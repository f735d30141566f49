"""Fixtures of the sandbox tests: a home of their own, and each backend where it works."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aar.sandbox.inventory import get_backend
from aar.sandbox.protocol import SandboxBackend
from aar.settings import get_settings


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sandboxes of a test file belong to a home of its own, so that no other test finds or sweeps them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAR_HOME", str(home))
        get_settings.cache_clear()
        yield home
    get_settings.cache_clear()


_answers: dict[str, str] = {}


def need(name: str) -> Callable[[], SandboxBackend]:
    """A maker of that backend; skips where it does not work, fails where ``AAR_REQUIRE_ALL`` is set."""

    async def check() -> str:
        backend = get_backend(name)
        found = await backend.check()
        await backend.close()
        return "" if found.ok else f"{name}: {found.detail}; {found.remedy}"

    if name not in _answers:
        _answers[name] = asyncio.run(check())
    if _answers[name]:
        if os.environ.get("AAR_REQUIRE_ALL") == "1":
            pytest.fail(_answers[name])
        pytest.skip(_answers[name])
    return lambda: get_backend(name)


@pytest.fixture(
    scope="class", params=[pytest.param(n, marks=getattr(pytest.mark, n)) for n in ("docker", "bubblewrap")]
)
def each_backend(request: pytest.FixtureRequest, own_home: Path) -> Callable[[], SandboxBackend]:
    """Each backend in turn."""
    return need(request.param)
