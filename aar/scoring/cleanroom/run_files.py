"""Files of clean-room runs on this machine: data, code, outputs and their removal."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from aar.errors import SandboxError
from aar.fsutil import remove_tree
from aar.sandbox import workspaces
from aar.sandbox.protocol import Mount
from aar.scoring.cleanroom.task_bundles import make_readable
from aar.snapshots.store import SnapshotStore

_DATA, _METHOD = "data", "method"


def make_run_folder(folder: Path) -> list[Mount]:
    """Make a run's folder with empty places for data and code; returns their mounts.

    Args:
        folder: must not exist; a sandbox's user can pass through it and not list it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    folder.chmod(0o711)
    for name in (_DATA, _METHOD):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    return [Mount(folder / name, f"/{name}") for name in (_DATA, _METHOD)]


def fill_run_folder(folder: Path, public: Path, source: str | Path, snapshots: SnapshotStore | None) -> None:
    """Copy a task's public bundle and a method's code into a run's folder.

    The sandbox shows these folders already.

    Files are hard links where the file system allows it, else copies.

    Args:
        folder: as ``make_run_folder`` made it.
        source: digest of a snapshot, or a directory to show as it is.

    Raises:
        NotFound: no snapshot of that digest.
    """
    _show(public, folder / _DATA)
    for path in (folder / _DATA).rglob("*"):
        # Times would show a method which file an audit has written again.
        os.utime(path, (0, 0), follow_symlinks=False)
    if isinstance(source, Path):
        _show(source, folder / _METHOD)
    elif snapshots is None:
        raise SandboxError("this clean room has no snapshot store", "Give it one, or a directory to run")
    else:
        code = folder / "code"
        snapshots.materialise(source, code)
        make_readable(code)
        # The folder itself must stay: it is the one that is mounted.
        for entry in list(code.iterdir()):
            entry.rename(folder / _METHOD / entry.name)
    # Byte code in a method would run instead of the source that was audited.
    for cached in list((folder / _METHOD).rglob("__pycache__")):
        if cached.is_dir() and not cached.is_symlink():
            remove_tree(cached)
        else:
            cached.unlink(missing_ok=True)


def _show(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def store_output(content: bytes, work_dir: Path) -> Path:
    """Store an output in a file that only the controller reads; returns the file."""
    outputs = work_dir / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    path = outputs / f"{secrets.token_hex(8)}.npy"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def workspace_folder(folder: Path) -> Path:
    """Return the path of a run's workspace in its folder."""
    return folder / "workspace"


def remove_run_folder(folder: Path) -> None:
    """Remove a run's folder with everything that a method left in it.

    Raises:
        SandboxError: something of it stays; nothing is removed while a file system is mounted in it.
    """
    if folder.exists():
        workspaces.discard(workspace_folder(folder))
        remove_tree(folder)


def remove_leftover_runs(work_dir: Path, keep: Collection[str] = ()) -> dict[str, Exception]:
    """Remove the runs that a killed process left in a work folder.

    Returns the reason for each folder that could not be removed, by name.

    Args:
        keep: runs whose sandbox may still run; their folders stay.
    """
    left: dict[str, Exception] = {}
    # A process killed while it made a sandbox may leave a mounted workspace that no backend knows.
    runs = work_dir / "runs"
    folders = [each for each in runs.iterdir() if each.name not in keep] if runs.is_dir() else []
    for folder in (*folders, work_dir / "bundles", work_dir / "outputs"):
        try:
            if folder.parent == runs:
                remove_run_folder(folder)
            else:
                remove_tree(folder)
        except Exception as error:  # noqa: BLE001 - one folder must not block the others
            left[folder.name] = error
    with suppress(OSError):  # it holds the files that stay
        runs.rmdir()
    return left
