"""The kernel as a sandbox meets it: the files it sees, and the system calls it may make.

Below ``/proc`` and ``/sys`` a sandbox sees its own processes, and fixed text in place of counters. Counters of the
whole machine would let two sandboxes pass bits to each other, and some reveal paths of the host. Files that are not on
the list of those that programs need are hidden, so that a new kernel shows nothing new.

The system call filter is a list of refusals as classic BPF, made without a library. The server inside loads it before
it runs anything, in addition to the backend's own filter. It refuses new namespaces, mounts, tracing, keys, kernel
programs, clocks, and socket families that network namespaces do not contain (vsock reaches the hypervisor). Limits,
priorities and cores can be changed for the caller only. Watches on files and the fill of file systems are refused,
because sandboxes share files and file systems. Calls newer than the list are refused as unknown, so that a new kernel
opens no new door. Source of the numbers: the kernel's syscall_64.tbl and asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import os
import struct
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
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NR, _ARCH, _ARG0 = 0, 4, 16
_ARGUMENT_BYTES = 8
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32_BIT = 0x40000000
_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_SOCKET_FAMILIES = (1, 2, 10, 16)  # unix, inet, inet6, netlink
_NEWEST = 462  # mseal, Linux 6.10
_GENERIC = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442)
"""io_uring_*, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd, process_madvise, mount_setattr:
same everywhere."""
_X86_64 = (
    *(101, 103, 134, 135, 153, 154, 155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 172, 173, 175, 176, 179, 180),
    *(
        212,
        227,
        237,
        238,
        246,
        248,
        249,
        250,
        256,
        272,
        279,
        298,
        300,
        303,
        304,
        305,
        308,
        310,
        311,
        312,
        313,
        320,
        321,
    ),
    323,
)
"""ptrace, syslog, uselib, personality, vhangup, modify_ldt, pivot_root, adjtimex, chroot, acct, settimeofday, mount,
umount2, swapon, swapoff, reboot, iopl, ioperm, init_module, delete_module, quotactl, nfsservctl, lookup_dcookie,
clock_settime, mbind, set_mempolicy, kexec_load, add_key, request_key, keyctl, migrate_pages, unshare, move_pages,
perf_event_open, fanotify_init, name_to_handle_at, open_by_handle_at, clock_adjtime, setns, process_vm_readv,
process_vm_writev, kcmp, finit_module, kexec_file_load, bpf, userfaultfd."""
_AARCH64 = (
    *(18, 39, 40, 41, 51, 58, 60, 89, 92, 97, 104, 105, 106, 112, 116, 117, 142, 170, 171, 217, 218, 219, 224, 225),
    *(235, 237, 238, 239, 241, 262, 264, 265, 266, 268, 270, 271, 272, 273, 280, 282, 294),
)
"""The same calls, where aarch64 has them."""
_ABSENT_X86_64 = (136, 137, 138, 253, 294)
_ABSENT_AARCH64 = (26, 43, 44)
"""ustat, statfs, fstatfs, inotify_init, inotify_init1: answered as if this kernel had none, so that libraries do
without. aarch64 has neither ustat nor inotify_init."""
_OWN_X86_64 = {302: 1, 203: 1, 142: 1, 144: 1, 314: 1, 141: 2}
_OWN_AARCH64 = {261: 1, 122: 1, 118: 1, 119: 1, 274: 1, 140: 2}
"""prlimit64, sched_setaffinity, sched_setparam, sched_setscheduler, sched_setattr, setpriority -> how many of their
first arguments must be 0, which means the caller."""
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS = 1


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


@dataclass(frozen=True, slots=True)
class _Machine:
    architecture: int
    """Architecture number of the kernel's audit."""
    refused: tuple[int, ...]
    absent: tuple[int, ...]
    own: dict[int, int]
    clone: int
    socket: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, _X86_64, _ABSENT_X86_64, _OWN_X86_64, 56, 41),
    "aarch64": _Machine(0xC00000B7, _AARCH64, _ABSENT_AARCH64, _OWN_AARCH64, 220, 198),
}


def filter_programs() -> dict[str, str]:
    """Return the filter for each known machine as hexadecimal ``sock_filter`` entries.

    Machines are named as by ``os.uname().machine``.
    """
    return {machine: _program(machine).hex() for machine in _MACHINES}


def _program(machine: str) -> bytes:
    calls = _MACHINES[machine]
    body: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQUAL, 1, 0, calls.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":
        body += _refuse_when(_JUMP_SET, _X32_BIT, errno.ENOSYS)
    body += _refuse_when(_JUMP_GREATER, _NEWEST, errno.ENOSYS)
    body += _refuse_when(_JUMP_EQUAL, 435, errno.ENOSYS)  # clone3: its flags are behind a pointer; libc falls back
    for number in (*calls.refused, *_GENERIC):
        body += _refuse_when(_JUMP_EQUAL, number, errno.EPERM)
    for number in calls.absent:
        body += _refuse_when(_JUMP_EQUAL, number, errno.ENOSYS)
    for number, count in calls.own.items():
        body += _only_with(number, [0] * count)
    body += _only_with(_IOPRIO_SET[machine], [_IOPRIO_WHO_PROCESS, 0])
    body += [
        (_JUMP_EQUAL, 0, 4, calls.clone),
        (_LOAD, 0, 0, _ARG0),
        (_JUMP_SET, 0, 1, _NAMESPACES),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
        (_JUMP_EQUAL, 1, 0, calls.socket),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _ARG0),
    ]
    for family in _SOCKET_FAMILIES:
        body += [(_JUMP_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    body.append((_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in body)


def _refuse_when(test: int, value: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(test, 0, 1, value), (_RETURN, 0, 0, _ERRNO | error)]


def _only_with(number: int, values: list[int]) -> list[tuple[int, int, int, int]]:
    """Allow a call only with these first arguments, as 32-bit numbers."""
    body: list[tuple[int, int, int, int]] = []
    for index, value in enumerate(values):
        body += [
            (_LOAD, 0, 0, _ARG0 + _ARGUMENT_BYTES * index),
            (_JUMP_EQUAL, 1, 0, value),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        ]
    body.append((_RETURN, 0, 0, _ALLOW))
    return [(_JUMP_EQUAL, 0, len(body), number), *body]
