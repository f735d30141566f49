"""Nothing gets out of either backend; and the attempts would be noticed if they did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.redteam.escapes import ESCAPES
from aar.redteam.escapes.escape_arena import EscapeArena
from aar.sandbox.protocol import SandboxBackend
from aar.testing.conformance.escape_suite import EscapeSuite


class TestEscapes(EscapeSuite):
    """The shipped suite, for Docker and bubblewrap."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls, each_backend: Callable[[], SandboxBackend]) -> Callable[[], SandboxBackend]:
        """Each backend in turn."""
        return each_backend


@pytest.mark.parametrize(
    "name", ["host-paths", "controller-environment", "descriptors", "shared-counters", "host-devices"]
)
def test_an_attempt_without_a_sandbox_is_seen_to_get_through(name: str, tmp_path: Path) -> None:
    place = EscapeArena(backend=None, folder=tmp_path)  # type: ignore[arg-type] - no sandbox is the point
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "hidden-labels-canary.npz").write_text(place.secret)
    script = place.filled(next(e.script for e in ESCAPES if e.name == name)).replace("100_000", "100")
    environment = {"PATH": "/usr/bin:/bin", "AAR_CANARY": place.secret}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert "GOT THROUGH" in done.stdout, done.stderr
