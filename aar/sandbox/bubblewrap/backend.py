"""The bubblewrap backend: makes, finds, lists and removes sandboxes, and knows which guarantees are weaker here."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aar.concurrency import run_to_completion
from aar.errors import SandboxError, SandboxGone, SandboxUnavailable
from aar.sandbox import workspaces
from aar.sandbox.bubblewrap import process
from aar.sandbox.bubblewrap.process import PATH, BubblewrapHostControl, bwrap_arguments, start_bwrap
from aar.sandbox.bubblewrap.python_mounts import BIN, DEFAULT_DISTRIBUTIONS, SITE, library_path, python_mounts
from aar.sandbox.channel.channel_sandbox import ChannelBackend
from aar.sandbox.channel.client import ABANDONED_SECONDS, base_environment, write_config
from aar.sandbox.incidents import IncidentSink
from aar.sandbox.isolation import cgroups, kernel
from aar.sandbox.isolation.data_leak_check import check_mounts
from aar.sandbox.isolation.kernel import write_replacement_files
from aar.sandbox.protocol import Availability, SandboxRow, SandboxSpec
from aar.sandbox.state_dir import (
    SandboxStateDir,
    home_scope,
    list_states,
    unprivileged_uid,
)

_START_SECONDS = 30.0
_ATTACH_SECONDS = 5.0
_INSTALL = "install it: sudo apt-get install bubblewrap"
_PROBE_SECONDS = 20


class BubblewrapBackend(ChannelBackend[BubblewrapHostControl]):
    """Sandboxes made by bubblewrap.

    Args:
        distributions: Python packages, installed beside `aar`, that commands may import.
        abandoned_after, on_incident: as for ``ChannelBackend``.
    """

    name = "bubblewrap"

    def __init__(
        self,
        distributions: Sequence[str] = DEFAULT_DISTRIBUTIONS,
        abandoned_after: float = ABANDONED_SECONDS,
        on_incident: IncidentSink | None = None,
    ) -> None:
        super().__init__(abandoned_after, on_incident)
        self._distributions = tuple(distributions)

    async def check(self) -> Availability:
        """Check that bubblewrap works here.

        Makes an empty sandbox once and caches the result.
        """
        return await asyncio.to_thread(bubblewrap_availability, self._distributions)

    async def list(self, campaign_id: str | None = None, *, usage: bool = False) -> Sequence[SandboxRow]:
        """List the existing sandboxes by name.

        Dead ones that left something behind are included.
        """
        return await asyncio.to_thread(self._rows, campaign_id, usage)

    def shell_command(self, name: str) -> Sequence[str]:
        """Return the command line that opens a shell in a running sandbox.

        Entering needs root and ``nsenter``. Raises SandboxGone, SandboxError.
        """
        place = SandboxStateDir(self.name, name)
        state = place.load()
        if state is None or not (host := BubblewrapHostControl.from_state(place, state)).running:
            raise SandboxGone(f"no sandbox named {name} is running")
        if os.getuid() != 0:
            raise SandboxError(
                "a shell in a bubblewrap sandbox needs root", "run it with sudo, or use the docker backend"
            )
        who = ["--setuid", str(state["uid"]), "--setgid", str(state["uid"])]
        spaces = ["-m", "-p", "-n", "-i", "-u"]
        clean = ["env", "-i", "HOME=/workspace", "TERM=xterm", "PATH=/opt/bin:/usr/bin:/bin", "PYTHONPATH=/opt/site"]
        inside = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *clean, "bash"]
        return ["nsenter", "-t", str(host.first_process.pid), *spaces, *who, "--wd=/workspace", "--", *inside]

    async def _find(self, name: str) -> BubblewrapHostControl | None:
        place = SandboxStateDir(self.name, name)
        state = place.load()
        return BubblewrapHostControl.from_state(place, state) if state is not None else None

    def _new_control(self, spec: SandboxSpec) -> BubblewrapHostControl:
        place = SandboxStateDir(self.name, spec.name)
        return BubblewrapHostControl(place, spec.campaign_id, spec.workspace.absolute(), keep=spec.keep_workspace)

    async def _start(self, spec: SandboxSpec, host: BubblewrapHostControl) -> None:
        await run_to_completion(partial(self._start_process, spec, host))

    def _start_process(self, spec: SandboxSpec, host: BubblewrapHostControl) -> None:
        check_mounts(spec.mounts)
        place = host.place
        uid = unprivileged_uid(place)
        bounded = workspaces.prepare(host.workspace, spec.workspace_bytes, uid)
        group = cgroups.create_cgroup(f"{home_scope()}-{place.path.name}", note=partial(host.record_group, spec))
        if group is not None:
            group.limit(spec)
        host.group = group
        env = base_environment(spec, path=PATH, site=SITE)
        if library_path():
            env["LD_LIBRARY_PATH"] = library_path()
        write_config(
            place.channel,
            spec,
            env,
            watch_workspace=not bounded,
            watch_memory=group is None,
            rlimits=process.rlimits(spec, limited=group is not None),
            abandoned_after=self._abandoned_after,
        )
        arguments = bwrap_arguments(
            spec,
            channel=place.channel,
            etc=process.write_etc(place, uid),
            kernel_files=write_replacement_files(place.kernel_files, spec),
            drop_to=uid,
            group=group,
            distributions=self._distributions,
        )

        def before_run(pid: int) -> None:
            host.record_first_process(spec, pid)
            if group is not None:
                group.add(pid)
            if spec.cores:
                os.sched_setaffinity(pid, spec.cores)

        host.record_bwrap(start_bwrap(arguments, place.path / "bwrap.log", before_run))

    def _rows(self, campaign_id: str | None, usage: bool) -> Sequence[SandboxRow]:
        rows = []
        for state in list_states(self.name):
            if campaign_id in (None, state["campaign"]):
                host = BubblewrapHostControl.from_state(SandboxStateDir(self.name, state["name"]), state)
                running, age = host.running, time.time() - state["created"]
                used = host.usage_now() if usage and running else None
                rows.append(SandboxRow(state["name"], self.name, state["campaign"], running, age, used))
        return sorted(rows, key=lambda row: row.name)


@functools.cache
def bubblewrap_availability(distributions: Sequence[str]) -> Availability:
    """Try an empty sandbox with the host's Python in it.

    Blocks. The result is cached for the life of the process.
    """
    if not sys.platform.startswith("linux"):
        return Availability(False, "bubblewrap needs Linux", "use Docker on this system")
    program = shutil.which("bwrap")
    if program is None:
        return Availability(False, "bubblewrap is not installed (no bwrap on PATH)", _INSTALL)
    if os.getuid() == 0 and not Path("/usr/bin/setpriv").exists():
        return Availability(False, "setpriv is missing", "install it: sudo apt-get install util-linux")
    try:
        python = python_mounts(tuple(distributions))
    except SandboxUnavailable as error:
        return Availability(False, error.message, error.remedy)
    version = _output([program, "--version"])[1]
    code, output = _try(program, python)
    if code != 0:
        remedy = "allow unprivileged user namespaces, or run as root" if os.getuid() != 0 else "see docs/sandboxes.md"
        return Availability(False, f"{version} cannot make a sandbox here: {output[-300:]}", remedy)
    return Availability(True, f"{version}; no network, no host files, no capability", notes=_notes())


def _try(program: str, python: Sequence[str]) -> tuple[int, str]:
    user = [] if os.getuid() == 0 else ["--unshare-user", "--disable-userns"]
    spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--clearenv"]
    environment = ["--setenv", "LD_LIBRARY_PATH", library_path()] if library_path() else []
    with tempfile.TemporaryDirectory(prefix="aar-probe-") as folder:
        bound = ["--bind", folder, "/workspace", "--proc", "/proc", "--dev", "/dev"]
        command = [f"{BIN}/python3", "-c", "import ctypes, json"]
        vector = [program, *spaces, *user, *python, *bound, *environment, "--", *command]
        return _output(vector)


def _output(vector: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(vector, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()


def _notes() -> list[str]:
    notes = []
    if not _cgroup_works():
        notes.append("memory is watched, not bounded by the kernel: no control group is writable")
        notes.append("CPU is shared, not limited: no control group is writable")
    if not workspaces.can_mount():
        notes.append("workspace size is watched, not fixed: mounting a file system needs root and mkfs.ext4")
    if os.getuid() != 0:
        notes.append("all sandboxes run under this user's uid, apart by namespaces only")
    if os.uname().machine not in kernel.filter_programs():
        notes.append(f"no system call filter for {os.uname().machine}")
    return notes


def _cgroup_works() -> bool:
    group = cgroups.create_cgroup(f"probe-{uuid.uuid4().hex[:8]}")
    if group is None:
        return False
    child = subprocess.Popen(["sleep", "10"])
    try:
        group.add(child.pid)
    except OSError:
        return False
    finally:
        child.kill()
        child.wait()
        deadline = time.monotonic() + 1.0
        while not group.remove() and time.monotonic() < deadline:
            time.sleep(0.01)
    return True
