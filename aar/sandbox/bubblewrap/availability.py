"""Availability of bubblewrap on this machine, with the guarantees that are weaker here."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from aar.errors import SandboxUnavailable
from aar.sandbox import workspaces
from aar.sandbox.bubblewrap.python_mounts import BIN, library_path, python_mounts
from aar.sandbox.isolation import cgroups, seccomp
from aar.sandbox.protocol import Availability

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
    if os.uname().machine not in seccomp.filter_programs():
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
