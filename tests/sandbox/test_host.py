"""What the host keeps: control groups of both versions, workspaces, short paths, processes that cannot be confused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aar.errors import Conflict, SandboxError, UsageError
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.isolation import cgroups
from aar.sandbox.protocol import SandboxSpec
from aar.sandbox.state_dir import SandboxStateDir, validate_sandbox_name


@pytest.fixture
def spec(tmp_path: Path) -> SandboxSpec:
    """A spec with bounds of its own."""
    return SandboxSpec("box", "c", tmp_path / "w", memory_bytes=1 << 28, cpus=1.5, max_processes=50, cores=(0, 2))


def test_limits_of_control_groups_version_2(tmp_path: Path, spec: SandboxSpec) -> None:
    """On a folder with the files of a version 2 hierarchy: this kernel may have only version 1."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("cpuset cpu memory pids")
    group = cgroups.create_cgroup("box", tmp_path)
    assert group is not None
    assert group.folders == {"": tmp_path / "aar" / "box"}
    folder = group.folders[""]
    for name in ("memory.swap.max", "cpu.max", "cpuset.cpus"):
        (folder / name).write_text("")
    group.limit(spec)
    group.add(123)
    written = {p.name: p.read_text() for p in folder.iterdir()}
    assert written == {
        "memory.max": str(1 << 28),
        "memory.swap.max": "0",
        "pids.max": "50",
        "cpu.max": "150000 100000",
        "cpuset.cpus": "0,2",
        "cgroup.procs": "123",
    }
    (folder / "memory.current").write_text("5000\n")
    (folder / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    (folder / "pids.current").write_text("3\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\n")
    (folder / "memory.events").write_text("oom 1\noom_kill 4\n")
    used = group.usage(tmp_path)
    assert used is not None
    assert (used.memory_bytes, used.processes, used.cpu_seconds) == (4000, 3, 2.5)
    assert group.kernel_kills() == 4
    assert cgroups.cgroup_from_json(cgroups.cgroup_to_json(group)) == group


def test_no_control_group_where_none_may_be_made(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu")
    (tmp_path / "cgroup.subtree_control").write_text("cpu")
    assert cgroups.create_cgroup("box", tmp_path) is None


@pytest.mark.skipif(not workspaces.can_mount(), reason="mounting an ext4 file needs root")
def test_a_workspace_is_bounded_and_keeps_its_content(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    workspace.mkdir()
    (workspace / "old").write_text("old")
    assert workspaces.prepare(workspace, 8 << 20, 12345)
    try:
        assert (workspace / "old").stat().st_uid == 12345
        with pytest.raises(OSError, match="No space"):
            (workspace / "big").write_bytes(bytes(9 << 20))
        (workspace / "big").unlink()
        (workspace / "new").write_text("new")
        (workspace / "link").symlink_to("/etc/passwd")
        with (workspace / "hole").open("wb") as file:
            file.truncate(6 << 20)
    finally:
        workspaces.release(workspace)
        workspaces.release(workspace)
    assert sorted(p.name for p in workspace.iterdir()) == ["hole", "link", "new", "old"]
    assert (workspace / "link").is_symlink()
    assert (workspace / "hole").stat().st_blocks * 512 < 1 << 20
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    with pytest.raises(SandboxError):
        workspaces.prepare(workspace, 1 << 16, 12345)


def test_names_and_short_paths() -> None:
    for name in ("a", "k3v9qd-s12-0"):
        assert len(str(SandboxStateDir("docker", name).channel / "sock")) < 100
    for name in ("", "-a", "A", "a/b", "..", "a" * 64):
        with pytest.raises(UsageError):
            validate_sandbox_name(name)


def test_a_name_is_claimed_once_and_free_again_when_its_maker_died(spec: SandboxSpec) -> None:
    place = SandboxStateDir("docker", spec.name)
    place.claim(spec)
    try:
        with pytest.raises(Conflict):
            place.claim(spec)
        place.save(spec, {"maker": [os.getpid(), 1]})
        os.utime(place.path, (0, 0))
        place.claim(spec)
        assert place.is_being_created()
    finally:
        place.remove()
    assert not place.path.parent.parent.exists()


def test_a_process_is_known_by_its_start_and_ends_when_killed() -> None:
    child = subprocess.Popen(["sleep", "100"])
    process = HostProcess.of(child.pid)
    assert process is not None
    assert process.alive()
    assert not HostProcess(child.pid, process.started + 1).alive()
    assert HostProcess(child.pid, process.started + 1).kill()
    assert process.alive()
    assert process.kill()
    assert not process.alive()
    assert child.wait() == -9
    assert HostProcess.of(os.getpid()) is not None
