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
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from aar.concurrency import best_effort, log_failure, run_to_completion
from aar.errors import Conflict, SandboxError, SandboxGone, SandboxUnavailable
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.bubblewrap import process
from aar.sandbox.bubblewrap.process import PATH, BubblewrapHostControl, BwrapDescriptors, bwrap_arguments, start_bwrap
from aar.sandbox.bubblewrap.python_mounts import BIN, DEFAULT_DISTRIBUTIONS, SITE, library_path, python_mounts
from aar.sandbox.channel.channel_sandbox import ChannelSandbox
from aar.sandbox.channel.client import ABANDONED_SECONDS, ChannelClient, base_environment, write_config
from aar.sandbox.incidents import IncidentSink, report_left_behind, report_pruned_tree
from aar.sandbox.isolation import cgroups, kernel
from aar.sandbox.isolation.data_leak_check import check_mounts
from aar.sandbox.isolation.kernel import write_replacement_files
from aar.sandbox.protocol import Availability, SandboxRow, SandboxSpec, SandboxStats
from aar.sandbox.state_dir import (
    SandboxStateDir,
    home_scope,
    list_states,
    runtime_root,
    unprivileged_uid,
    validate_sandbox_name,
)

_START_SECONDS = 30.0
_ATTACH_SECONDS = 5.0


class BubblewrapBackend:
    """Sandboxes made by bubblewrap.

    Args:
        distributions: Python packages, installed beside `aar`, that commands may import.
        abandoned_after: seconds without any controller after which a sandbox ends itself.
        on_incident: called with each incident: a thing stopped, refused or lost in any of its sandboxes.
    """

    name = "bubblewrap"

    def __init__(
        self,
        distributions: Sequence[str] = DEFAULT_DISTRIBUTIONS,
        abandoned_after: float = ABANDONED_SECONDS,
        on_incident: IncidentSink | None = None,
    ) -> None:
        self._distributions = tuple(distributions)
        self._abandoned_after = abandoned_after
        self._on_incident = on_incident
        self._live: dict[str, ChannelSandbox] = {}

    async def check(self) -> Availability:
        """Check that bubblewrap works here.

        Makes an empty sandbox once and caches the result.
        """
        return await asyncio.to_thread(bubblewrap_availability, self._distributions)

    async def create(self, spec: SandboxSpec) -> ChannelSandbox:
        """Make and start a sandbox. Raises SandboxUnavailable, SandboxError, Conflict."""
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(spec.name))
        state = place.load()
        if state is not None and not place.is_being_created():
            body = BubblewrapHostControl.from_state(place, state)
            if body.alive:
                raise Conflict(f"a sandbox named {spec.name} is running", "attach to it, or remove it first")
            report_pruned_tree(self._on_incident, spec.name, spec.campaign_id, await body.release())
        await run_to_completion(partial(place.claim, spec), place.remove)
        channel = ChannelClient(spec.name, place.channel)
        body = BubblewrapHostControl(place, spec.workspace.absolute(), keep=spec.keep_workspace)
        try:
            await channel.listen()
            await run_to_completion(partial(self._start, spec, place, body))
            await channel.connected(body.first_process, _START_SECONDS)
        except BaseException as error:
            # The caller needs the first error.
            left = partial(report_left_behind, self._on_incident, spec.name, spec.campaign_id)
            said = await asyncio.to_thread(body.last_output)
            await best_effort(channel.close(), left)
            await best_effort(body.release(), left)
            if isinstance(error, SandboxGone):
                raise SandboxError(f"sandbox {spec.name} did not start: {said or error.message}") from error
            raise
        return self._remember(ChannelSandbox(spec, channel, body, self._on_incident))

    def _start(self, spec: SandboxSpec, place: SandboxStateDir, body: BubblewrapHostControl) -> None:
        check_mounts(spec.mounts)
        uid = unprivileged_uid(place)
        bounded = workspaces.prepare(body.workspace, spec.workspace_bytes, uid)
        group = cgroups.create_cgroup(f"{home_scope()}-{place.path.name}", note=partial(body.will_have, spec))
        if group is not None:
            group.limit(spec)
        body.group = group
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
        etc = process.write_etc(place, uid)
        kernel_files = write_replacement_files(place.kernel_files, spec)

        def vector(descriptors: BwrapDescriptors) -> Sequence[str]:
            return bwrap_arguments(
                spec,
                channel=place.channel,
                etc=etc,
                kernel_files=kernel_files,
                drop_to=uid,
                group=group,
                distributions=self._distributions,
                descriptors=descriptors,
            )

        def before_run(pid: int) -> None:
            body.record_first_process(spec, pid)
            if group is not None:
                group.add(pid)
            if spec.cores:
                os.sched_setaffinity(pid, spec.cores)

        body.record_bwrap(start_bwrap(vector, place.path / "bwrap.log", before_run))

    async def attach(self, spec: SandboxSpec) -> ChannelSandbox:
        """Attach to a sandbox that a former controller made. Raises SandboxGone."""
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(spec.name))
        await self._detach_sandbox(spec.name)
        state = place.load()
        body = BubblewrapHostControl.from_state(place, state) if state is not None else None
        if body is None or not body.alive:
            raise SandboxGone(f"no sandbox named {spec.name} is running", "create it; its workspace is retained")
        channel = ChannelClient(spec.name, place.channel)
        await channel.listen()
        sandbox = ChannelSandbox(spec, channel, body, self._on_incident)
        try:
            await channel.connected(body.first_process, _ATTACH_SECONDS)
            await sandbox.adopt_jobs(_ATTACH_SECONDS)
        except SandboxGone:
            await sandbox.destroy()
            raise
        return self._remember(sandbox)

    async def owners(self) -> Mapping[str, str]:
        """Return campaign ids by sandbox name.

        Dead sandboxes that left something behind are included.
        """
        found = await asyncio.to_thread(lambda: list(list_states(runtime_root(), self.name)))
        return {state["name"]: state["campaign"] for state in found}

    async def orphans(self, campaign_id: str | None = None) -> Sequence[str]:
        """Return the names of existing sandboxes.

        Dead ones that left something behind are included.
        """
        return [name for name, owner in (await self.owners()).items() if campaign_id in (None, owner)]

    async def remove(self, name: str) -> None:
        """End and remove a sandbox by name. Does nothing when it is absent."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.destroy()
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(name))
        state = place.load()
        if state is not None:
            cut = await BubblewrapHostControl.from_state(place, state).release()
            report_pruned_tree(self._on_incident, name, state["campaign"], cut)

    async def close(self) -> None:
        """Close connections. Running sandboxes stay for a later ``attach``."""
        live, self._live = list(self._live.values()), {}
        for sandbox in live:
            await best_effort(sandbox.detach(), log_failure("a sandbox could not be let go of"))

    async def _detach_sandbox(self, name: str) -> None:
        """Free the channel of a sandbox held by this object, for a new one."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.detach()

    def _remember(self, sandbox: ChannelSandbox) -> ChannelSandbox:
        self._live[sandbox.spec.name] = sandbox
        return sandbox


_NAME = "bubblewrap"


async def list_bubblewrap_sandboxes() -> list[SandboxRow]:
    """List every sandbox of this `aar` home.

    Dead ones that left something behind are included.
    """
    return await asyncio.to_thread(_rows)


def _rows() -> list[SandboxRow]:
    found = []
    for state in list_states(runtime_root(), _NAME):
        running = "first" in state and HostProcess(state["first"], state["first_started"]).alive()
        group = cgroups.cgroup_from_json(state.get("cgroup", {}))
        used = group.usage() if group is not None and running else None
        if used is not None:
            workspace = workspaces.used_bytes(Path(state["workspace"]))
            used = SandboxStats(used.memory_bytes, used.processes, used.cpu_seconds, workspace)
        age = time.time() - state["created"]
        found.append(SandboxRow(state["name"], _NAME, state["campaign"], running, age, used))
    return found


def bubblewrap_shell_command(name: str) -> list[str]:
    """Return the command line that opens a shell in a running sandbox.

    Entering needs root and ``nsenter``.

    Raises:
        SandboxGone: no sandbox of that name runs.
        SandboxError: this user may not enter it.
    """
    state = SandboxStateDir(runtime_root(), _NAME, validate_sandbox_name(name)).load()
    if (
        state is None
        or "first" not in state
        or not (process := HostProcess(state["first"], state["first_started"])).alive()
    ):
        raise SandboxGone(f"no sandbox named {name} is running")
    if os.getuid() != 0:
        raise SandboxError("a shell in a bubblewrap sandbox needs root", "run it with sudo, or use the docker backend")
    who = ["--setuid", str(state["uid"]), "--setgid", str(state["uid"])]
    spaces = ["-m", "-p", "-n", "-i", "-u"]
    clean = ["env", "-i", "HOME=/workspace", "TERM=xterm", "PATH=/opt/bin:/usr/bin:/bin", "PYTHONPATH=/opt/site"]
    inside = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *clean, "bash"]
    return ["nsenter", "-t", str(process.pid), *spaces, *who, "--wd=/workspace", "--", *inside]


_INSTALL = "install it: sudo apt-get install bubblewrap"
_PROBE_SECONDS = 20


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
    code, said = _try(program, python)
    if code != 0:
        remedy = "allow unprivileged user namespaces, or run as root" if os.getuid() != 0 else "see docs/sandboxes.md"
        return Availability(False, f"{version} cannot make a sandbox here: {said[-300:]}", remedy)
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
