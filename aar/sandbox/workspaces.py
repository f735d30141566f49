"""A bounded workspace: a file system of its own where this process may mount one, else a watched quota.

As root, the workspace is an ext4 file of the given size, mounted on the workspace directory while the sandbox lives;
when it ends, its content is moved back into the directory and the file is removed. Elsewhere every single file is
bounded by a resource limit, and the server inside watches the sum and kills what writes past it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from aar.errors import SandboxError

_SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_OPTIONS = "loop,nosuid,nodev,noatime"
_PROBE_BYTES = 4 << 20


def prepare(workspace: Path, size: int, owner: int | None) -> bool:
    """Make the workspace ready for a sandbox.

    Args:
        workspace: host directory; made if absent; its content is kept.
        size: bytes it may hold.
        owner: uid that the commands have on this host; None where it is our own or cannot be given files.

    Returns:
        Whether a file system bounds it; False means that the server inside must watch it.

    Raises:
        SandboxError: its content does not fit into ``size``.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    if owner is None:
        if os.getuid() != 0:
            workspace.chmod(0o777)
        return False
    if workspace.is_mount():
        return True
    if not can_mount():
        _run("chown", "-hR", f"{owner}:{owner}", str(workspace))
        return False
    image = _image(workspace)
    _format(image, size, owner)
    if any(workspace.iterdir()):
        _fill(image, workspace, owner)
    _run("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(workspace))
    lost = workspace / "lost+found"
    if lost.is_dir() and not any(lost.iterdir()):
        lost.rmdir()
    return True


def release(workspace: Path) -> None:
    """Turn a mounted workspace back into a plain directory with the same content. Safe to call twice."""
    image = _image(workspace)
    if not workspace.is_mount():
        image.unlink(missing_ok=True)
        return
    kept = workspace.with_name(f".{workspace.name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    _copy(workspace, kept)
    _run("umount", str(workspace))
    shutil.rmtree(workspace)
    kept.rename(workspace)
    image.unlink(missing_ok=True)


def used(workspace: Path) -> int:
    """Bytes in use of a mounted workspace; -1 when it is a plain directory."""
    if not workspace.is_mount():
        return -1
    info = os.statvfs(workspace)
    return (info.f_blocks - info.f_bfree) * info.f_frsize


@functools.cache
def can_mount() -> bool:
    """Whether this process may mount an ext4 file; tried once."""
    if os.getuid() != 0 or not all(shutil.which(tool, path=_SBIN) for tool in ("mkfs.ext4", "unshare")):
        return False
    with tempfile.TemporaryDirectory(prefix="aar-probe-") as folder:
        image, target = Path(folder) / "image", Path(folder) / "mounted"
        target.mkdir()
        try:
            _format(image, _PROBE_BYTES, 0)
            # In a namespace of its own, which ends with the command: a process killed meanwhile leaves no mount.
            _run("unshare", "--mount", "mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(target))
        except SandboxError:
            return False
    return True


def _image(workspace: Path) -> Path:
    return workspace.with_name(f".{workspace.name}.ext4")


def _format(image: Path, size: int, owner: int) -> None:
    with image.open("wb") as file:
        file.truncate(size)
    image.chmod(0o600)
    extended = f"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner={owner}:{owner}"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal,^resize_inode", "-E", extended, str(image))


def _fill(image: Path, source: Path, owner: int) -> None:
    with tempfile.TemporaryDirectory(prefix="aar-fill-") as folder:
        _run("mount", "-t", "ext4", "-o", _OPTIONS, str(image), folder)
        try:
            _copy(source, Path(folder))
            _run("chown", "-hR", f"{owner}:{owner}", folder)
        finally:
            _run("umount", folder)


def _copy(source: Path, target: Path) -> None:
    """Copy a tree with its links and holes, without devices, and with no set-user-id bit left."""
    _run("cp", "-a", "--sparse=always", "--one-file-system", "--", f"{source}/.", str(target))
    _run("find", str(target), "-type", "f", "-perm", "/6000", "-exec", "chmod", "a-s", "{}", "+")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": _SBIN, "LC_ALL": "C"}, check=False)
    if done.returncode != 0:
        raise SandboxError(f"{command[0]} failed for {command[-1]}: {done.stderr.strip()[:300]}")
