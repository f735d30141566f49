"""Kernel files visible to a sandbox below ``/proc`` and ``/sys``.

A sandbox sees its own processes, and fixed text in place of counters.

Counters of the whole machine would let two sandboxes pass bits to each other, and some reveal paths of the host. Files
that are not on the list of those that programs need are hidden, so that a new kernel shows nothing new.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aar.sandbox.protocol import SandboxSpec

_PROC = Path("/proc")
_SYS = Path("/sys")
_SHOWN_PROC = ("filesystems", "mounts", "net", "self", "sys", "sysvipc", "thread-self", "version")
_SHOWN_PROC_WITH_GPU = ("devices", "driver")
_SHOWN_SETTINGS = ("kernel", "net", "user", "vm")
_HIDDEN_KERNEL_SETTINGS = ("keys", "pty", "random/entropy_avail")
_SHOWN_SYS_WITH_GPU = ("bus", "class", "dev", "devices", "fs", "module")
_SHOWN_SYSTEM_DEVICES = ("cpu", "node")
_COUNTERS_OF_DEVICES = (
    *("node/node*/meminfo", "node/node*/numastat", "node/node*/vmstat"),
    *("cpu/cpufreq", "cpu/cpuidle", "cpu/cpu*/cpufreq", "cpu/cpu*/cpuidle", "cpu/cpu*/thermal_throttle"),
)
_FIXED = ("cpuinfo", "loadavg", "meminfo", "stat", "uptime")
"""Files of ``/proc`` that programs read and a container engine can replace."""


@dataclass(frozen=True, slots=True)
class HiddenPaths:
    """Paths inside a sandbox that appear as empty files and folders."""

    files: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        """All hidden paths."""
        return [*self.files, *self.folders]


@dataclass(frozen=True, slots=True)
class ReplacementFiles:
    """Host files that replace the kernel's.

    Args:
        fixed: path inside -> file.
        empty_file, empty_folder: for hidden paths.
    """

    fixed: dict[str, Path]
    empty_file: Path
    empty_folder: Path


def hidden_in_proc(*, gpu: bool = False) -> HiddenPaths:
    """Return the hidden paths of this kernel's ``/proc``.

    Args:
        gpu: True if drivers' files are needed.
    """
    shown = {*_SHOWN_PROC, *_FIXED, *(_SHOWN_PROC_WITH_GPU if gpu else ())}
    paths = [entry for entry in _entries(_PROC) if not entry.name.isdigit() and entry.name not in shown]
    paths += [entry for entry in _entries(_PROC / "sys") if entry.name not in _SHOWN_SETTINGS]
    paths += [_PROC / "sys" / "kernel" / name for name in _HIDDEN_KERNEL_SETTINGS]
    return _sorted(paths)


def hidden_in_sys(*, gpu: bool = False) -> HiddenPaths:
    """Return the hidden paths of this kernel's ``/sys``.

    Only processors, memory nodes and control groups stay visible.

    Args:
        gpu: True if buses and devices are needed; block devices never are.
    """
    paths = [entry for entry in _entries(_SYS) if entry.name not in (_SHOWN_SYS_WITH_GPU if gpu else ("devices", "fs"))]
    paths += [entry for entry in _entries(_SYS / "fs") if entry.name != "cgroup"]
    system = _SYS / "devices" / "system"
    paths += [entry for entry in _entries(system) if entry.name not in _SHOWN_SYSTEM_DEVICES]
    for pattern in _COUNTERS_OF_DEVICES:
        paths += system.glob(pattern)
    if gpu:
        paths += [_SYS / "class" / "block", _SYS / "class" / "bdi", _SYS / "dev" / "block"]
        paths += {entry.resolve().parent for entry in _entries(_SYS / "block")}
        paths.append(_SYS / "devices" / "virtual" / "bdi")
    else:
        paths += [entry for entry in _entries(_SYS / "devices") if entry.name != "system"]
    return _sorted(paths)


def write_replacement_files(folder: Path, spec: SandboxSpec) -> ReplacementFiles:
    """Write the files that replace the kernel's. Blocks.

    Args:
        folder: for the files; made.
        spec: its memory is shown as the machine's.
    """
    folder.mkdir()
    texts = {
        "cpuinfo": (_PROC / "cpuinfo").read_text(errors="replace"),
        "loadavg": "0.00 0.00 0.00 1/1 1\n",
        "meminfo": _meminfo(spec.memory_bytes // 1024),
        "stat": _stat(),
        "uptime": (_PROC / "uptime").read_text().split()[0] + " 0.00\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    (folder / "nothing").touch()
    (folder / "empty").mkdir()
    for path, mode in ((folder, 0o755), (folder / "nothing", 0o444), (folder / "empty", 0o555)):
        path.chmod(mode)
    fixed = {f"/proc/{name}": folder / name for name in texts}
    return ReplacementFiles(fixed, folder / "nothing", folder / "empty")


def _meminfo(kib: int) -> str:
    sizes = {"MemTotal": kib, "MemFree": kib, "MemAvailable": kib}
    nothing = "Buffers Cached SwapCached Active Inactive SwapTotal SwapFree Dirty Writeback AnonPages Mapped Shmem Slab"
    sizes |= dict.fromkeys((*nothing.split(), "SReclaimable", "SUnreclaim"), 0)
    return "".join(f"{name + ':':<16}{size:>8} kB\n" for name, size in sizes.items())


def _stat() -> str:
    booted = next(line for line in (_PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    zeros = " 0" * 10
    cpu_lines = "".join(f"cpu{number}{zeros}\n" for number in range(os.cpu_count() or 1))
    return f"cpu {zeros}\n{cpu_lines}intr 0\nctxt 0\n{booted}\nprocesses 0\nprocs_running 1\nprocs_blocked 0\n"


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from folder.iterdir()


def _sorted(paths: Iterable[Path]) -> HiddenPaths:
    files, folders = set(), set()
    for path in paths:
        if path.is_symlink():
            continue
        if path.is_dir():
            folders.add(str(path))
        elif path.exists():
            files.add(str(path))
    return HiddenPaths(tuple(sorted(files)), tuple(sorted(folders)))
