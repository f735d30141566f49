"""State directories of running sandboxes, in a short private path, and the host users they run as.

One folder per sandbox, with its socket and state. A unix socket's path must stay under 108 bytes, so the folder is
named by a short hash of the sandbox's name; its state file identifies the sandbox. Each sandbox has its own user on the
host, so that they share no per-user kernel limits.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from aar.errors import Conflict, SandboxError, UsageError
from aar.processes import HostProcess
from aar.sandbox.protocol import SandboxSpec
from aar.settings import get_settings

_STATE = "state.json"
_TRIES = 10
_FRESH_SECONDS = 30.0
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
FIRST_UID, LAST_UID = 1_879_048_192, 1_879_113_727
"""Range of uids, one per sandbox, far from any that a distribution or a user database assigns."""


def runtime_root() -> Path:
    """Return ``$XDG_RUNTIME_DIR/aar``, else ``/run/aar`` for root, else ``/tmp/aar-<uid>``.

    The folder is made with mode 0700.

    Raises:
        SandboxError: the folder belongs to another user.
    """
    chosen = os.environ.get("XDG_RUNTIME_DIR")
    if chosen:
        root = Path(chosen) / "aar"
    elif os.getuid() == 0:
        root = Path("/run/aar")
    else:
        root = Path(f"/tmp/aar-{os.getuid()}")  # noqa: S108 - ownership is checked below
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = root.lstat()
    if info.st_uid != os.getuid() or root.is_symlink():
        raise SandboxError(f"{root} belongs to another user", "remove it, or set XDG_RUNTIME_DIR")
    root.chmod(0o700)
    return root


def validate_sandbox_name(name: str) -> str:
    """Return the name if it is valid. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid sandbox name: got {name!r}, expected a-z, 0-9 and -, at most 63 characters", "choose another name"
        )
    return name


def home_scope() -> str:
    """Return a short name for the current `aar` home.

    Sandboxes of another home must not be listed or removed.
    """
    return hashlib.sha256(str(get_settings().home.absolute()).encode()).hexdigest()[:8]


class SandboxStateDir:
    """The folder of one sandbox of one backend.

    It holds ``channel/`` and ``proc/`` (shown inside), and ``state.json``.

    Raises UsageError for an invalid name.
    """

    def __init__(self, backend: str, name: str) -> None:
        digest = hashlib.sha256(f"{backend}/{validate_sandbox_name(name)}".encode()).hexdigest()[:16]
        self.path = runtime_root() / home_scope() / backend[0] / digest
        self.channel = self.path / "channel"
        self.kernel_files = self.path / "proc"
        self._state = self.path / _STATE

    def claim(self, spec: SandboxSpec) -> None:
        """Make the folders of a new sandbox and record that it is being created.

        Raises:
            Conflict: another process is creating one of that name.
        """
        if self.is_being_created() or (self.path.is_dir() and time.time() - self.path.stat().st_mtime < _FRESH_SECONDS):
            raise Conflict(f"a sandbox named {spec.name} is being created", "wait for it, or choose another name")
        self.remove()
        for attempt in range(_TRIES):
            try:
                self.path.mkdir(mode=0o700, parents=True)
                break
            except (FileExistsError, FileNotFoundError):
                # Another sandbox's removal may take the empty parent just then; pathlib reports either error.
                if self.path.is_dir():
                    raise Conflict(f"a sandbox named {spec.name} is being created", "choose another name") from None
                if attempt == _TRIES - 1:
                    raise
        me = HostProcess.current()
        self.save(spec, {"maker": [me.pid, me.started]})
        self.channel.mkdir()
        self.channel.chmod(0o755)

    def is_being_created(self) -> bool:
        """Return True while a live process is creating the sandbox."""
        state = self.load()
        return state is not None and bool(state.get("maker")) and HostProcess(*state["maker"]).alive()

    def save(self, spec: SandboxSpec, more: dict[str, Any]) -> None:
        """Write the state file in one step.

        Another process needs it to find, adopt or remove the sandbox.
        """
        state = {
            "name": spec.name,
            "campaign": spec.campaign_id,
            "workspace": str(spec.workspace.absolute()),
            "keep": spec.keep_workspace,
            "created": time.time(),
            **more,
        }
        temporary = self._state.with_suffix(".part")
        temporary.write_text(json.dumps(state))
        temporary.replace(self._state)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state. None where it is missing or was cut short by a crash."""
        return _read_state(self._state)

    def remove(self) -> None:
        """Remove the folder, and the empty ones above it."""
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in (self.path.parent, self.path.parent.parent):
            try:
                parent.rmdir()
            except OSError:  # in use, or gone
                return


def remove_unfinished() -> None:
    """Remove folders of sandboxes that were never recorded or only partly removed."""
    for folder in (runtime_root() / home_scope()).glob("*/*"):
        try:
            begun = folder.stat().st_mtime
        except OSError:
            continue
        if not (folder / _STATE).exists() and time.time() - begun >= _FRESH_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _read_state(path: Path) -> dict[str, Any] | None:
    """Read a state file. None where it is missing or was cut short by a crash."""
    try:
        state = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def known_workspaces() -> list[Path]:
    """Return the workspaces of all sandboxes of this machine and user.

    Those of every `aar` home are included.
    """
    found = (_read_state(path) for path in runtime_root().glob(f"*/*/*/{_STATE}"))
    return [Path(state["workspace"]) for state in found if state is not None]


def list_states(backend: str) -> list[dict[str, Any]]:
    """Return the saved states of all sandboxes of a backend."""
    found = map(_read_state, (runtime_root() / home_scope() / backend[0]).glob(f"*/{_STATE}"))
    return [state for state in found if state is not None]


def unprivileged_uid(place: SandboxStateDir) -> int | None:
    """Return a uid that no other sandbox has, as root. None as a plain user.

    The uid is held while the sandbox's folder exists.
    """
    if os.getuid() != 0:
        return None
    folder = Path("/run/aar-uids")
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken = set()
        for holder in folder.glob("[0-9]*"):
            if Path(os.readlink(holder)).is_dir():  # noqa: PTH115 - the link's own text, wherever it leads
                taken.add(int(holder.name))
            else:
                holder.unlink()
        uid = next(uid for uid in range(FIRST_UID, LAST_UID + 1) if uid not in taken)
        (folder / str(uid)).symlink_to(place.path)
    return uid
