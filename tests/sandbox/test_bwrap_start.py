"""Starting bwrap: on every way out no descriptor stays open, no process runs and nobody waits for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aar.errors import SandboxError
from aar.sandbox.bubblewrap import process

pytestmark = pytest.mark.bubblewrap


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in bwrap's place that starts a child, as bwrap does, writes down both pids and says nothing."""
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $$ $! > {tmp_path}/pids\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(process, "_START_SECONDS", 0.5)
    return tmp_path


def ended(pid: int) -> bool:
    """Whether a process runs no more; one that waits for its parent counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_one_that_says_nothing_is_killed_and_not_waited_for(stand_in: Path) -> None:
    before = descriptors()
    with pytest.raises(SandboxError, match="did not start"):
        process.start_bwrap([], stand_in / "log", lambda _: None)
    assert descriptors() == before
    own, child = map(int, (stand_in / "pids").read_text().split())
    assert not Path(f"/proc/{own}").exists()
    assert ended(child)


def test_what_raises_on_the_way_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    with pytest.raises(SandboxError, match="did not start"):
        process.start_bwrap(["--no-such-option"], tmp_path / "log", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="bwrap"):
        process.start_bwrap([], tmp_path / "log", lambda _: None)
    with pytest.raises(OSError, match="log"):
        process.start_bwrap([], tmp_path / "no" / "log", lambda _: None)
    assert descriptors() == before


def test_nothing_runs_when_its_limits_could_not_be_set(tmp_path: Path) -> None:
    before, first = descriptors(), []

    def refuse(pid: int) -> None:
        first.append(pid)
        raise SandboxError("no control group")

    arguments = ["--bind", "/", "/", "--unshare-pid", "touch", str(tmp_path / "ran")]
    with pytest.raises(SandboxError, match="no control group"):
        process.start_bwrap(arguments, tmp_path / "log", refuse)
    assert ended(first[0])
    assert not (tmp_path / "ran").exists()
    assert descriptors() == before
