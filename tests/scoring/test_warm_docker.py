"""Warm sandboxes that are containers."""

from __future__ import annotations

import pytest

from aar.sandbox.protocol import SandboxBackend

from .warm_suite import WarmSuite

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture
def backend(docker_backend: SandboxBackend) -> SandboxBackend:
    return docker_backend


class TestDocker(WarmSuite):
    """Cancelled while the engine starts one, it must not leave a container."""
