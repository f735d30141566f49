"""The bwrap process of a sandbox: its arguments, its user, its start, and its control from outside."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from aar.concurrency import run_to_completion
from aar.errors import SandboxError
from aar.processes import HostProcess, kill_bwrap_processes, kill_family, reap
from aar.sandbox.bubblewrap.python_mounts import BIN, PYTHON, directory_arguments, library_path, python_mounts
from aar.sandbox.channel.channel_sandbox import HostControl
from aar.sandbox.channel.client import CHANNEL_TARGET, SERVER_SOURCE, SERVER_TARGET, server_command
from aar.sandbox.isolation import cgroups
from aar.sandbox.isolation.cgroups import Cgroup, oom_counter_paths
from aar.sandbox.isolation.kernel import ReplacementFiles, hidden_in_proc
from aar.sandbox.protocol import WORKSPACE, SandboxSpec
from aar.sandbox.state_dir import SandboxStateDir

PATH = f"{BIN}:{PYTHON}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
INNER_UID = 10001
SHARED_ETC = (Path("/etc/alternatives"),)
"""Parts of the host's ``/etc`` shown unchanged: links that lead to commands such as ``awk``."""
_TMP_BYTES = 256 * 1024**2
_INFO, _BLOCK = 10, 11
"""Descriptors that bwrap inherits: it writes its child's pid to one and waits on the other."""
_PRIVILEGES = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
_RESERVED_BYTES = 512 * 1024**2
_COPIED_ETC = ("ld.so.cache", "localtime")
_START_SECONDS = 20.0
_REMOVE_SECONDS = 30.0


def bwrap_arguments(
    spec: SandboxSpec,
    *,
    channel: Path,
    etc: Path,
    kernel_files: ReplacementFiles,
    drop_to: int | None,
    group: Cgroup | None,
    distributions: Sequence[str],
) -> list[str]:
    """Build the arguments that follow ``bwrap``.

    Args:
        channel, etc: host directories for ``/run/aar`` and ``/etc``.
        kernel_files: files to show below ``/proc``.
        drop_to: as root, the uid that the first process drops to before it runs anything; None: a user namespace.
        group: control group whose out-of-memory counter is shown inside.
        distributions: Python packages to show.

    Raises:
        SandboxUnavailable: a distribution is not installed.
    """
    made = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    made += ["--hostname", "sandbox", "--new-session", "--clearenv", "--as-pid-1", "--cap-drop", "ALL"]
    if drop_to is None:
        made += ["--unshare-user", "--uid", str(INNER_UID), "--gid", str(INNER_UID), "--disable-userns"]
    else:
        for capability in _PRIVILEGES:
            made += ["--cap-add", capability]
    made += python_mounts(tuple(distributions))
    made += ["--proc", "/proc", "--dev", "/dev", "--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    made += _kernel_files(kernel_files, gpu=bool(spec.gpus))
    made += ["--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
    for target in ("/etc", CHANNEL_TARGET, SERVER_TARGET, "/run/cgroup", WORKSPACE, *(m.target for m in spec.mounts)):
        made += directory_arguments(target)
    made += ["--ro-bind", str(etc), "/etc", "--ro-bind", str(channel), CHANNEL_TARGET]
    for shared in SHARED_ETC:
        made += ["--ro-bind-try", str(shared), str(shared)]
    made += ["--ro-bind", str(SERVER_SOURCE), SERVER_TARGET]
    for path in oom_counter_paths(group) if group else ():
        made += ["--ro-bind", str(path), "/run/cgroup"]
    made += ["--bind", str(spec.workspace.absolute()), WORKSPACE]
    for mount in spec.mounts:
        made += ["--bind" if mount.writable else "--ro-bind", str(mount.source.absolute()), mount.target]
    for device in _gpu_devices(spec.gpus):
        made += ["--dev-bind", device, device]
    made += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE, "--setenv", "PATH", PATH]
    if library_path():
        made += ["--setenv", "LD_LIBRARY_PATH", library_path()]
    return [*made, "--", *(_drop(drop_to) if drop_to is not None else ()), *server_command(f"{BIN}/python3")]


def _kernel_files(files: ReplacementFiles, *, gpu: bool) -> list[str]:
    hidden = hidden_in_proc(gpu=gpu)
    shown = {
        **files.fixed,
        **dict.fromkeys(hidden.files, files.empty_file),
        **dict.fromkeys(hidden.folders, files.empty_folder),
    }
    return [argument for path, source in shown.items() for argument in ("--ro-bind", str(source), path)]


def _gpu_devices(gpus: Sequence[str]) -> list[str]:
    """Return device files of NVIDIA GPUs by index, and the control devices that every GPU needs."""
    if not gpus:
        return []
    shared = [p for p in ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools") if Path(p).exists()]
    return [*shared, *(f"/dev/nvidia{index}" for index in gpus)]


def _drop(uid: int) -> list[str]:
    ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return ["/usr/bin/setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def rlimits(spec: SandboxSpec, *, limited: bool) -> dict[str, int]:
    """Return resource limits in addition to the usual ones.

    Processes are always limited; the data of one process only where no control group is.

    The data limit is a backstop above the memory limit of the server inside: libraries reserve more than they use.
    """
    limits = {"nproc": spec.max_processes}
    if not limited:
        limits["data"] = 2 * spec.memory_bytes + _RESERVED_BYTES
    return limits


def write_etc(place: SandboxStateDir, uid: int | None) -> Path:
    """Write a small ``/etc``: the user and the library search path.

    It contains nothing of the host's users or network.
    """
    number = INNER_UID if uid is None else uid
    etc = place.path / "etc"
    etc.mkdir(mode=0o755)
    texts = {
        "passwd": f"researcher:x:{number}:{number}:researcher:/workspace:/bin/bash\n",
        "group": f"researcher:x:{number}:\n",
        "hosts": "127.0.0.1 localhost sandbox\n",
        "hostname": "sandbox\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
    for name, text in texts.items():
        (etc / name).write_text(text)
    for name in _COPIED_ETC:
        if Path("/etc", name).is_file():
            shutil.copyfile(Path("/etc", name), etc / name)
    for shared in SHARED_ETC:
        (etc / shared.name).mkdir()
    for path in (etc, *etc.iterdir()):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return etc


def start_bwrap(arguments: Sequence[str], log: Path, before_run: Callable[[int], None]) -> int:
    """Start bwrap in its own session. Blocks.

    Args:
        arguments: the argument vector, without ``bwrap``: see ``bwrap_arguments``.
        log: file for its error output.
        before_run: called with the first process's pid before anything in the sandbox runs (to limit it).

    Returns:
        Pid of bwrap itself, a child of this process.

    Raises:
        SandboxError: it did not start; quotes its error output.
    """
    with ExitStack() as whole, ExitStack() as given:
        # The first process waits until something is written here, or until no writer is left.
        block_read, block_write = _pipe(given, whole)
        info_read, info_write = _pipe(whole, given)
        output = _owned(given, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        nothing = _owned(given, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        # The targets' numbers may be in use as sources: move the sources out of the way first.
        high = [_duplicate(given, fd) for fd in (info_write, block_read, output, nothing)]
        program = shutil.which("bwrap") or "bwrap"
        pid = os.posix_spawn(
            program,
            ["bwrap", "--info-fd", str(_INFO), "--block-fd", str(_BLOCK), *arguments],
            {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[3], 0),
                (os.POSIX_SPAWN_DUP2, high[2], 1),
                (os.POSIX_SPAWN_DUP2, high[2], 2),
                (os.POSIX_SPAWN_DUP2, high[0], _INFO),
                (os.POSIX_SPAWN_DUP2, high[1], _BLOCK),
            ],
            setsid=True,
        )
        try:
            given.close()
            first = _first_process(info_read)
            if first is None:
                raise SandboxError(
                    f"bwrap did not start: {log.read_text(errors='replace').strip()[:500] or 'no error output'}"
                )
            before_run(first)
            os.write(block_write, b"1")
        except BaseException:
            # Before the block is lifted: the waiting process would run without limits.
            kill_family(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise
        return pid


def _pipe(read_owner: ExitStack, write_owner: ExitStack) -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    return _owned(read_owner, read), _owned(write_owner, write)


def _duplicate(owner: ExitStack, fd: int) -> int:
    return _owned(owner, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20))


def _owned(owner: ExitStack, fd: int) -> int:
    owner.callback(os.close, fd)
    return fd


def _first_process(info: int) -> int | None:
    """Return the pid in bwrap's JSON. None if bwrap ended without writing it."""
    received = b""
    deadline = time.monotonic() + _START_SECONDS
    poll = select.poll()
    poll.register(info, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            return None
        piece = os.read(info, 4096)
        received += piece
        try:
            return int(json.loads(received)["child-pid"])
        except ValueError:
            if not piece:
                return None
    return None


class BubblewrapHostControl(HostControl):
    """The ``HostControl`` of a bubblewrap sandbox.

    Killing its first process kills every process in it.
    """

    def __init__(self, place: SandboxStateDir, campaign_id: str, workspace: Path, *, keep: bool = True) -> None:
        super().__init__(place, campaign_id, workspace, keep=keep)
        self.group: Cgroup | None = None
        self._bwrap = 0

    @classmethod
    def from_state(cls, place: SandboxStateDir, state: dict[str, Any]) -> BubblewrapHostControl:
        """Return the host control of a sandbox that another process started."""
        host = cls(place, state["campaign"], Path(state["workspace"]), keep=state.get("keep", True))
        host.group = cgroups.cgroup_from_json(state.get("cgroup", {}))
        if "first" in state:
            host.first_process = HostProcess(state["first"], state["first_started"])
        return host

    @property
    def running(self) -> bool:
        """True if the first process of the sandbox runs."""
        return self.first_process.alive()

    def cgroup(self) -> Cgroup | None:
        """Return the sandbox's own group. None where groups cannot be made."""
        return self.group

    def record_group(self, spec: SandboxSpec, group: Cgroup) -> None:
        """Record the control group before it is made."""
        self.place.save(spec, {**(self.place.load() or {}), "cgroup": cgroups.cgroup_to_json(group)})

    def record_first_process(self, spec: SandboxSpec, first: int) -> None:
        """Record the sandbox's first process in the state file, before it runs anything."""
        self.first_process = HostProcess.of(first) or HostProcess(-1, 0)
        more = {
            "cgroup": cgroups.cgroup_to_json(self.group),
            "first": self.first_process.pid,
            "first_started": self.first_process.started,
            "uid": self.workspace.stat().st_uid,
        }
        self.place.save(spec, more)

    def record_bwrap(self, bwrap: int) -> None:
        """Record bwrap's own process, a child of this one."""
        self._bwrap = bwrap

    async def start_failure(self) -> str:
        """Return the last output of bwrap or of the server inside."""
        try:
            text = await asyncio.to_thread((self.place.path / "bwrap.log").read_text, errors="replace")
        except OSError:
            return ""
        return text.strip()[-500:]

    async def kill(self) -> None:
        """Kill every process of the sandbox at once."""
        if self.first_process.pid > 0:
            await asyncio.to_thread(self.first_process.kill)
        elif not self._bwrap:
            await asyncio.to_thread(kill_bwrap_processes, self.place.path)
        if self._bwrap:
            reap(self._bwrap)

    async def release(self) -> int:
        """End the sandbox and remove it, except the content of a retained workspace.

        See ``HostControl.release``.
        """
        await self.kill()
        try:
            return await run_to_completion(self._clean_up)
        finally:
            if self._bwrap:
                reap(self._bwrap)

    async def exit_cause(self) -> str:
        """Return the cause of the sandbox's end, if the kernel reports one."""
        if self.running:
            return ""
        return "out of memory" if self.group is not None and self.group.kernel_kills() else "its processes ended"

    def _clean_up(self) -> int:
        deadline = time.monotonic() + _REMOVE_SECONDS
        while self.group is not None and not self.group.remove():
            if time.monotonic() > deadline:
                raise SandboxError(f"the control group of {self.workspace.name} still has processes")
            time.sleep(0.01)
        cut = self.release_workspace() if self.place.path.exists() else 0
        self.place.remove()
        return cut
