"""Both backends keep the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aar.sandbox.protocol import SandboxBackend
from aar.testing.conformance.sandbox_suite import SandboxSuite


class TestBackends(SandboxSuite):
    """The shipped suite, for Docker and bubblewrap."""

    @pytest.fixture
    def make_backend(self, each_backend: Callable[[], SandboxBackend]) -> Callable[[], SandboxBackend]:
        """Each backend in turn."""
        return each_backend
