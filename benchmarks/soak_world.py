"""The world of ``soak.py``: a controller, its service, disk, and problem."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aar.problems.toy

HERE = Path(__file__).parent
DISK_BYTES = 1536 * 1024**2
ODD = """

# What the owner of this problem did not think of: an output that is constant.
import os as _os
import time as _time

from aar.problems.protocol import CallLimits as _CallLimits

_score = Toy.score


def _odd(self, task, output):
    guesses = self._read(output)
    if len(set(guesses)) > 1:
        return _score(self, task, output)
    match round(guesses[0]):
        case 1:
            return TaskScore({"explained": float("nan"), "items": 200.0})
        case 2:
            return TaskScore({"explained": 1 / (guesses[0] - guesses[-1]), "items": 200.0})
        case 3:
            _os._exit(1)
        case _:
            _time.sleep(3600)


Toy.score = _odd
Toy.call_limits = _CallLimits(seconds=10.0)
"""


class ServiceProcess:
    """The model service, in a process of its own."""

    def __init__(self, times: int, seed: int, thinking: float, chat: float, odd_every: int) -> None:
        given = [str(each) for each in (times, seed, thinking, chat, odd_every)]
        command = [sys.executable, str(HERE / "soak_service.py"), *given]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.address: str = told["service"]
        self._controls = f"http://127.0.0.1:{told['controls']}"

    def ask(self, path: str, *, post: bool = False) -> Any:
        """Use its controls."""
        request = urllib.request.Request(self._controls + path, data=b"" if post else None)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate("")


class Home:
    """One machine's ``AAR_HOME``, and the command line used on it.

    Args:
        folder: an empty one.
        command: of ``aar``.
        environment: added to the usual one.
    """

    def __init__(self, folder: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.log = folder.parent.parent / "controller.log"
        self.scratch = folder.parent.parent / "tmp"
        self.scratch.mkdir()
        self.scratch.chmod(0o1777)
        self._command = list(command)
        own = {"AAR_HOME": str(folder), "ANTHROPIC_API_KEY": "not-a-key", "TMPDIR": str(self.scratch)}
        self._environment = {**os.environ, **own, **environment}
        self.controller: subprocess.Popen[bytes] | None = None

    def aar(self, *arguments: str, seconds: float = 120.0) -> tuple[int, str]:
        """Run a command to its end; returns its exit code and output."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def begin(self, *arguments: str) -> None:
        """Start a controller."""
        with self.log.open("ab") as log:
            self.controller = subprocess.Popen(
                [*self._command, *arguments, "--plain", "--yes"],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        """Kill the controller, as the kernel does when memory is short."""
        assert self.controller is not None
        self.controller.send_signal(signal.SIGKILL)
        self.controller.wait()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Query its database without ``aar`` code; nothing while there is none."""
        file = self.folder / "aar.db"
        if not file.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as db:
            try:
                return db.execute(statement).fetchall()
            except sqlite3.OperationalError:
                return []


def problem_with_a_flaw(folder: Path) -> Path:
    """Copy ``toy`` with scoring that fails over a constant output."""
    source = Path(aar.problems.toy.__file__).parent
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "problem.py").open("a") as file:
        file.write(ODD)
    return folder


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """Mount a small file system; returns True if this user may mount one."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "aar-soak", str(place)]
    mounted = os.getuid() == 0 and not subprocess.run(mount, check=False, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def keep_full(place: Path, seconds: float, met: Callable[[], bool]) -> None:
    """Fill the disk, also as others make room; remove the file in the end.

    Args:
        seconds: for so long at least.
        met: returns True once it had an effect; it is waited for, five times as long.
    """
    filler, began = place / "filler", time.monotonic()
    while (gone := time.monotonic() - began) < seconds or (gone < 5 * seconds and not met()):
        for size in (65536, 512):
            with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"0" * size)
        time.sleep(0.1)
    filler.unlink()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide a folder that is removed with all that is mounted in it."""
    scratch = Path(tempfile.mkdtemp(prefix="aar-soak-"))
    scratch.chmod(0o711)
    try:
        yield scratch
    finally:
        lines = Path("/proc/mounts").read_text().splitlines()
        for place in sorted((line.split()[1] for line in lines), key=len, reverse=True):
            if place.startswith(f"{scratch}/"):
                subprocess.run(["umount", "--lazy", place], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", str(scratch)], check=False)


def kill_sandbox(workspace: str) -> int:
    """Kill the processes that see a folder; returns how many.

    The folder is known by the end of its path, as ``/workspace``.
    """
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    killed = 0
    sources = {source for source, place, *_ in mounts if place.endswith(workspace)}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            lines = (process / "mountinfo").read_text().splitlines() if process.name.isdigit() else []
            seen = [line.split() for line in lines if line.split()[4] == "/workspace"]
            if any(each[3].endswith(workspace) or sources & set(each) for each in seen):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    return killed


def wait_for(what: Callable[[], Any], seconds: float, name: str) -> Any:
    """Poll until the result is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {name}")
        time.sleep(0.2)
    return answer


def left_behind(scratch: Path, containers: Callable[[], list[str]]) -> list[str]:
    """List a campaign's leftovers on the machine.

    Processes, mounts, loop devices, containers and folders.
    """
    mine = str(scratch)
    home, place = scratch / "disk" / "home", str(scratch / "disk")
    found = [
        f"mount {line.split()[1]}"
        for line in Path("/proc/mounts").read_text().splitlines()
        if mine in line and line.split()[1] != place
    ]
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and mine.encode() in (process / "cmdline").read_bytes():
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if "dockerd" not in line and "containerd" not in line:
                    found.append(f"process {process.name}: {line[:120]}")
    for device in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if mine in (text := device.read_text()):
                found.append(f"loop device {text.strip()}")
    found += [f"container {each}" for each in containers()]
    found += [f"folder {each}" for each in home.glob("campaigns/*/scoring/runs/*")]
    found += [f"workspace's part {each}" for each in home.glob("campaigns/*/workspaces/.*")]
    return found + [f"temporary file {each}" for each in (scratch / "tmp").iterdir()]
