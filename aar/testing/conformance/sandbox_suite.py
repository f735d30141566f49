"""The conformance suite of the ``SandboxBackend`` protocol, for every backend, yours included.

Subclass it and override the ``make_backend`` fixture::

    class TestMine(SandboxSuite):
        @pytest.fixture
        def make_backend(self): return MyBackend

Tests are plain functions that run their own event loop, so that no plug-in for asyncio is needed.
"""

from __future__ import annotations

from aar.testing.conformance.sandbox.commands import CommandTests
from aar.testing.conformance.sandbox.files import FileTests
from aar.testing.conformance.sandbox.jobs import JobTests
from aar.testing.conformance.sandbox.lifecycle import LifeTests


class SandboxSuite(CommandTests, FileTests, JobTests, LifeTests):
    """Every promise of ``aar.sandbox.protocol``, as tests."""
