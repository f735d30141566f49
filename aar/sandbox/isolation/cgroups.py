"""Control groups, versions 1 and 2: limits for one sandbox, and the kernel's accounting.

Docker makes its own groups; here they are made for bubblewrap and read for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.sandbox.protocol import SandboxSpec, SandboxStats
from aar.sandbox.workspaces import used_bytes

_ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
_WANTED = ("memory", "pids", "cpu", "cpuset")
_PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The control group of one sandbox.

    Args:
        version: 1 or 2.
        folders: controller -> directory; version 2 has one, under ``""``.
    """

    version: int
    folders: dict[str, Path]

    def add(self, pid: int) -> None:
        """Move a process in, and with it all processes that it starts. Raises OSError."""
        for folder in dict.fromkeys(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def limit(self, spec: SandboxSpec) -> None:
        """Set the limits of a spec. Raises OSError."""
        quota = max(1000, int(spec.cpus * _PERIOD))
        if self.version == 2:
            self._set("", "memory.max", spec.memory_bytes)
            self._set("", "memory.swap.max", 0, optional=True)
            self._set("", "pids.max", spec.max_processes)
            self._set("", "cpu.max", f"{quota} {_PERIOD}", optional=True)
            if spec.cores:
                self._set("", "cpuset.cpus", _numbers(spec.cores), optional=True)
        else:
            self._set("memory", "memory.limit_in_bytes", spec.memory_bytes)
            self._set("memory", "memory.memsw.limit_in_bytes", spec.memory_bytes, optional=True)
            self._set("pids", "pids.max", spec.max_processes)
            self._set("cpu", "cpu.cfs_period_us", _PERIOD, optional=True)
            self._set("cpu", "cpu.cfs_quota_us", quota, optional=True)
            if spec.cores and "cpuset" in self.folders:
                self._set("cpuset", "cpuset.cpus", _numbers(spec.cores))

    def usage(self, workspace: Path) -> SandboxStats | None:
        """Return memory, processes and CPU seconds, with the bytes of a mounted workspace.

        Memory excludes pages that the kernel can drop. None if the cgroup files cannot be read.
        """
        try:
            if self.version == 2:
                memory = self._number("", "memory.current") - self._entry("", "memory.stat", "inactive_file")
                cpu = self._entry("", "cpu.stat", "usage_usec") / 1e6
                processes = self._number("", "pids.current")
            else:
                cached = self._entry("memory", "memory.stat", "total_inactive_file")
                memory = self._number("memory", "memory.usage_in_bytes") - cached
                cpu = self._number("cpuacct", "cpuacct.usage") / 1e9
                processes = self._number("pids", "pids.current")
        except (OSError, KeyError, ValueError):
            return None
        return SandboxStats(max(0, memory), processes, cpu, used_bytes(workspace))

    def kernel_kills(self) -> int:
        """Return the number of processes that the kernel killed for memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            return self._entry("" if self.version == 2 else "memory", name, "oom_kill")
        except (OSError, KeyError, ValueError):
            return 0

    def remove(self) -> bool:
        """Remove the directories. Returns False while a process is left in them."""
        for folder in dict.fromkeys(self.folders.values()):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True

    def _set(self, controller: str, name: str, value: object, *, optional: bool = False) -> None:
        path = self.folders[controller] / name
        if not optional or path.exists():
            path.write_text(str(value))

    def _number(self, controller: str, name: str) -> int:
        return int((self.folders[controller] / name).read_text())

    def _entry(self, controller: str, name: str, key: str) -> int:
        for line in (self.folders[controller] / name).read_text().splitlines():
            found, _, value = line.partition(" ")
            if found == key:
                return int(value)
        return 0


def create_cgroup(name: str, root: Path = _ROOT, note: Callable[[Cgroup], None] = lambda _: None) -> Cgroup | None:
    """Create a group below this process's own. None where that is not permitted.

    Args:
        name: of the new directory, unique on this machine.
        root: mount point of the control group file systems.
        note: called with the group before anything of it is made, so that it can be removed however this process ends.
    """
    try:
        if (root / "cgroup.controllers").exists():
            parent = _parent_v2(root)
            if parent is None:
                return None
            folders = {"": parent / name}
            version = 2
        else:
            own = _own_groups()
            folders = {c: _v1_home(root, c, own) / name for c in _V1_CONTROLLERS}
            if (root / "cpuset").is_dir():
                folders["cpuset"] = root / "cpuset" / f"aar-{name}"
            version = 1
    except OSError:
        return None
    group = Cgroup(version, folders)
    note(group)
    try:
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        if version == 1 and "cpuset" in folders:  # version 1 takes no process before these two are set
            for setting in ("cpuset.mems", "cpuset.cpus"):
                (folders["cpuset"] / setting).write_text((root / "cpuset" / setting).read_text())
    except OSError:
        group.remove()
        return None
    return group


def cgroup_of_process(pid: int) -> Cgroup | None:
    """Return the group of a host process. None when the process has ended."""
    try:
        own = _own_groups(str(pid))
    except OSError:
        return None
    if (_ROOT / "cgroup.controllers").exists():
        return Cgroup(2, {"": _ROOT / own.get("", "/").lstrip("/")})
    return Cgroup(1, {c: _ROOT / c / own.get(c, "/").lstrip("/") for c in _V1_CONTROLLERS})


def cgroup_to_json(group: Cgroup | None) -> dict[str, str]:
    """Convert a group to JSON values."""
    return {} if group is None else {str(c): str(folder) for c, folder in group.folders.items()}


def cgroup_from_json(folders: dict[str, str]) -> Cgroup | None:
    """Restore a group from the values of ``cgroup_to_json``."""
    if not folders:
        return None
    return Cgroup(2 if "" in folders else 1, {c: Path(folder) for c, folder in folders.items()})


def oom_counter_paths(group: Cgroup) -> Sequence[Path]:
    """Return the directory whose out-of-memory counter the server inside may read."""
    return [group.folders["" if group.version == 2 else "memory"]]


def _numbers(cores: Sequence[int]) -> str:
    return ",".join(str(core) for core in cores)


def _own_groups(pid: str = "self") -> dict[str, str]:
    groups = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _v1_home(root: Path, controller: str, own: dict[str, str]) -> Path:
    home = root / controller / own.get(controller, "/").lstrip("/")
    home = (home if home.is_dir() else root / controller) / "aar"
    home.mkdir(exist_ok=True)
    return home


def _parent_v2(root: Path) -> Path | None:
    """Return the nearest ancestor that can contain a limited group of this process.

    It passes memory and process limits to its children and permits creating one.
    """
    folder = root / _own_groups().get("", "/").lstrip("/")
    while folder.is_relative_to(root):
        control = folder / "cgroup.subtree_control"
        if control.exists() and os.access(folder, os.W_OK) and {"memory", "pids"} <= set(control.read_text().split()):
            home = folder / "aar"
            home.mkdir(exist_ok=True)
            wanted = [c for c in _WANTED if c in control.read_text().split()]
            (home / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in wanted))
            return home
        folder = folder.parent
    return None
