"""The clean room's files on this machine: code laid out for a run, outputs kept until scored, and their removal."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from aar.errors import SandboxError
from aar.sandbox import workspaces
from aar.sandbox.protocol import Mount
from aar.scoring.bundles import open_up
from aar.snapshots.store import SnapshotStore


def lay_out(source: str | Path | None, snapshots: SnapshotStore | None, folder: Path) -> list[Mount]:
    """Make a run's folder; returns the mount of its code, or none without a source.

    Args:
        source: digest of a snapshot, or a directory to show as it is.
        folder: must not exist; a sandbox's user can pass through it and not list it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    folder.chmod(0o711)
    if source is None:
        return []
    if isinstance(source, Path):
        return [Mount(source, "/method")]
    if snapshots is None:
        raise SandboxError("this clean room has no snapshot store", "Give it one, or a directory to run")
    snapshots.materialise(source, folder / "method")
    open_up(folder / "method")
    return [Mount(folder / "method", "/method")]


def keep(content: bytes, work_dir: Path) -> Path:
    """Write an output where only the controller reads it; returns the file."""
    outputs = work_dir / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    path = outputs / f"{secrets.token_hex(8)}.npy"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def remove(folder: Path) -> None:
    """Remove a folder that a method may have filled with closed directories."""
    if not folder.exists():
        return
    for parent, names, _ in os.walk(folder):
        for name in names:
            inner = Path(parent, name)
            if not inner.is_symlink() and not os.access(inner, os.R_OK | os.W_OK | os.X_OK):
                inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def sweep(work_dir: Path) -> None:
    """Remove what a killed process left in a clean room's work folder."""
    # Killed while it made a sandbox, it may leave a mounted workspace that no backend knows of.
    for workspace in work_dir.glob("runs/*/workspace"):
        workspaces.release(workspace)
    for folder in ("bundles", "runs", "outputs"):
        remove(work_dir / folder)
