"""Conformance suite of the ``SandboxBackend`` contract, for every backend, yours included.

Subclass it and override the ``make_backend`` fixture::

    class TestMine(SandboxSuite):
        @pytest.fixture
        def make_backend(self): return MyBackend

Tests are plain functions that run their own event loop, so that no plug-in for asyncio is needed.
"""

from __future__ import annotations

from aar.testing.sandbox.commands import CommandTests
from aar.testing.sandbox.files import FileTests
from aar.testing.sandbox.jobs import JobTests
from aar.testing.sandbox.life import LifeTests


class SandboxSuite(CommandTests, FileTests, JobTests, LifeTests):
    """Every promise of ``aar.sandbox.protocol``, as tests."""
