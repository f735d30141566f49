"""Bounded workspaces: a mounted file system where possible, else a watched quota.

As root, the workspace is an ext4 file of the given size, mounted on the workspace directory while the sandbox lives;
when it ends, its content is moved back into the directory and the file is removed. Elsewhere every single file is
bounded by a resource limit, and the server inside watches the sum and kills processes that write past it.

A process may be killed between any two of these steps. Beside ``NAME`` lie, each only while it is needed,

- ``.NAME.ext4``: the image. Once it has this name it is whole, and as long as it is there, it is newer than ``NAME``.
- ``.NAME.kept``: a whole copy of the image's content, taken after the last sandbox had ended: the newest of all, unless
  the image is still mounted.
- ``.NAME.part`` and ``.NAME.copy``, an image and a copy that are incomplete, and ``.NAME.old``, the replaced one: all
  of no further use.

The next ``prepare`` or ``release`` finds the newest of them and goes on from there.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from aar.errors import DISK_FULL_ERRNOS, SandboxError, StillInUse
from aar.fsutil import prune_deep_tree, remove_tree, temporary_folder
from aar.processes import mount_holders

_SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_TOOLS = ("mkfs.ext4", "e2fsck", "losetup", "setpriv", "unshare")
_OPTIONS = "loop,nosuid,nodev,noatime"
_PROBE_BYTES = 4 << 20
_RELEASE_SECONDS = 20.0
_COMMAND_SECONDS = 60.0
_COPY_SECONDS = 900.0
"""Longest duration of a command, and of one that processes a whole workspace."""
_POLL_SECONDS = 0.02
_END_HOLDER = "End the process that holds it"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_REPAIRED = (0, 1, 2)
"""Exit codes of e2fsck: sound, or repaired."""


def prepare(workspace: Path, size: int, owner: int | None) -> bool:
    """Prepare the workspace for a sandbox.

    Args:
        workspace: host directory; made if absent; its content is retained, down to ``fsutil.MAX_LEVELS`` levels of
            folders.
        size: bytes it may hold.
        owner: uid of the commands on this host; None where it is our own or cannot own files.

    Returns:
        True if a file system bounds it; False if the server inside must watch it.

    Raises:
        SandboxError: its content does not fit into ``size``.
        StillInUse: a former sandbox's image is in use.
    """
    if owner is None:
        workspace.mkdir(parents=True, exist_ok=True)
        if os.getuid() != 0:
            workspace.chmod(0o777)
        return False
    if workspace.is_mount():
        # The former copy is older than the mounted image, and must not be taken for the newest later.
        _remove_older_copy(workspace)
        if workspace.stat().st_uid != owner:
            _change_owner(workspace, owner)
        return True
    _settle(workspace)
    workspace.mkdir(parents=True, exist_ok=True)
    if not can_mount():
        _change_owner(workspace, owner)
        return False
    part = _sibling(workspace, "part")
    _format(part, size, owner)
    if any(workspace.iterdir()):
        prune_deep_tree(workspace)
        _fill(part, workspace, owner)
    image = _sibling(workspace, "ext4")
    part.rename(image)
    _mount(image, workspace)
    _drop_lost_and_found(workspace)
    return True


def release(workspace: Path) -> int:
    """Turn a mounted workspace back into a plain directory with the same content.

    Safe to call twice.

    No process may use the workspace any more.

    Returns:
        The number of files and folders left out because they nest deeper than ``fsutil.MAX_LEVELS`` levels.

    Raises:
        SandboxError: it cannot be copied or unmounted; nothing is lost, and the next call goes on.
    """
    cut = 0
    if workspace.is_mount():
        _drop_lost_and_found(workspace)
        cut = prune_deep_tree(workspace)
        _remove_older_copy(workspace)
        copy = _sibling(workspace, "copy")
        copy.mkdir()
        _copy(workspace, copy)
        copy.rename(_sibling(workspace, "kept"))
        _unmount(workspace)
    return cut + _settle(workspace)


def discard(workspace: Path) -> None:
    """Remove an unneeded workspace without copying anything out of it.

    Safe to call twice.

    Raises:
        SandboxError: it cannot be unmounted or removed; nothing is removed while it is mounted.
    """
    if workspace.is_mount():
        _unmount(workspace)
    # First the folder: see _wait_for_release.
    for folder in (workspace, *(_sibling(workspace, name) for name in ("kept", "copy", "old"))):
        remove_tree(folder)
    for name in ("ext4", "part"):
        _remove_image(_sibling(workspace, name))


def unmount_below(folder: Path) -> None:
    """Unmount the file systems below an unused folder. Raises StillInUse."""
    for target in _mounted():
        if target.is_relative_to(folder):
            _unmount(target)


def used_bytes(workspace: Path) -> int:
    """Return bytes in use of a mounted workspace. -1 when it is a plain directory."""
    if not workspace.is_mount():
        return -1
    info = os.statvfs(workspace)
    return (info.f_blocks - info.f_bfree) * info.f_frsize


@functools.cache
def can_mount() -> bool:
    """Return True if this process may mount an ext4 file. Tried once."""
    if os.getuid() != 0 or not all(shutil.which(tool, path=_SBIN) for tool in _TOOLS):
        return False
    with temporary_folder("aar-probe-") as folder:
        image, target = folder / "image", folder / "mounted"
        target.mkdir()
        try:
            _format(image, _PROBE_BYTES, 0)
            # In a namespace of its own, which ends with the command: a process killed meanwhile leaves no mount.
            _run("unshare", "--mount", "mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(target))
        except SandboxError:
            return False
    return True


def _settle(workspace: Path) -> int:
    """Finish the steps begun by a former process.

    Afterwards the workspace is a plain directory with the newest content.

    Returns the number of entries left out, as ``release`` does.
    """
    image, kept, old = (_sibling(workspace, name) for name in ("ext4", "kept", "old"))
    cut = 0
    if image.exists() and not kept.exists():
        # The only copy of the last sandbox's files.
        _wait_for_release(image)
        _repair(image)
        workspace.mkdir(parents=True, exist_ok=True)
        _mount(image, workspace)
        return release(workspace)
    if kept.exists():
        remove_tree(old)
        if workspace.exists():
            workspace.rename(old)
            remove_tree(old)
        _wait_for_release(image)
        # The image goes before the copy takes its name: alone, it would count as newer than the workspace.
        image.unlink(missing_ok=True)
        kept.rename(workspace)
    remove_tree(old)
    remove_tree(_sibling(workspace, "copy"))
    _remove_image(_sibling(workspace, "part"))
    return cut


def _remove_older_copy(workspace: Path) -> None:
    """Remove a copy that is older than the mounted image.

    A half-removed copy must not be taken for a complete one.
    """
    kept, copy = _sibling(workspace, "kept"), _sibling(workspace, "copy")
    remove_tree(copy)
    if kept.exists():
        kept.rename(copy)
        remove_tree(copy)


def _sibling(workspace: Path, kind: str) -> Path:
    return workspace.with_name(f".{workspace.name}.{kind}")


def _format(image: Path, size: int, owner: int) -> None:
    with image.open("wb") as file:
        file.truncate(size)
    image.chmod(0o600)
    extended = f"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner={owner}:{owner}"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal,^resize_inode", "-E", extended, str(image))


def _repair(image: Path) -> None:
    """Repair an image that was mounted when the machine stopped."""
    _run("e2fsck", "-f", "-y", str(image), accepted=_REPAIRED, seconds=_COPY_SECONDS)


def _mount(image: Path, target: Path) -> None:
    _run("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(target))


def _drop_lost_and_found(mounted: Path) -> None:
    """Remove the ``lost+found`` folder of a new ext4, unless it holds something."""
    lost = mounted / "lost+found"
    if lost.is_dir() and not lost.is_symlink() and not any(lost.iterdir()):
        lost.rmdir()


def _fill(image: Path, source: Path, owner: int) -> None:
    """Copy a tree into an image.

    Only these commands see the mount, and it ends with them.
    """
    target = _sibling(source, "copy")
    target.mkdir()
    steps = 'mount -t ext4 -o "$1" "$2" "$3" && cp -a --sparse=always --one-file-system -- "$4/." "$3"'
    steps += ' && find "$3" -type f -perm /6000 -exec chmod a-s {} + && chown -hR "$5" "$3" && umount "$3"'
    values = [_OPTIONS, str(image), str(target), str(source), f"{owner}:{owner}"]
    _run("unshare", "--mount", "--pid", "--kill-child", "sh", "-c", steps, "fill", *values, seconds=_COPY_SECONDS)
    target.rmdir()


def _copy(source: Path, target: Path) -> None:
    """Copy a tree with links and holes, without devices or set-user-id bits."""
    _run("cp", "-a", "--sparse=always", "--one-file-system", "--", f"{source}/.", str(target), seconds=_COPY_SECONDS)
    setuid = ("-type", "f", "-perm", "/6000", "-exec", "chmod", "a-s", "{}", "+")
    _run("find", str(target), *setuid, seconds=_COPY_SECONDS)


def _change_owner(workspace: Path, owner: int) -> None:
    _run("chown", "-hR", f"{owner}:{owner}", str(workspace), seconds=_COPY_SECONDS)


def _unmount(target: Path) -> None:
    """Unmount a directory, waiting while it is in use. Raises StillInUse."""
    deadline = time.monotonic() + _RELEASE_SECONDS
    while target.is_mount():
        try:
            _run("umount", str(target))
        except SandboxError as error:
            if time.monotonic() > deadline:
                raise StillInUse(f"{target} is still in use ({error.message})", _END_HOLDER) from error
            time.sleep(_POLL_SECONDS)


def _remove_image(image: Path) -> None:
    if image.exists():
        _wait_for_release(image)
        image.unlink(missing_ok=True)


def _wait_for_release(image: Path) -> None:
    """Wait until no loop device holds an image.

    An image that is mounted somewhere else is unmounted there.

    A process that makes a mount namespace, as sandboxes, containers and some services do when they start, has a copy of
    every mount, which holds the device as well. Once the folder is removed on which it was mounted, the kernel takes
    the copies away; where the folder must stay, they are waited for.

    Raises:
        StillInUse: the image is still held. Removed now, it would stay on the disk under no name; mounted again, it
            would be written twice at once.
    """
    deadline = time.monotonic() + _RELEASE_SECONDS
    while image.exists() and (devices := _run("losetup", "-n", "-O", "NAME", "-j", str(image)).split()):
        for target in _mounted(devices):
            _unmount(target)
        if time.monotonic() > deadline:
            held = ", ".join(mount_holders(devices)) or "no visible process"
            raise StillInUse(f"{image} is still in use by {', '.join(devices)}, held by {held}", _END_HOLDER)
        time.sleep(_POLL_SECONDS)


def _mounted(devices: Collection[str] | None = None) -> list[Path]:
    """Return the mount points of a device, last mounted first.

    None stands for all devices.
    """
    lines = [line.split(b" ") for line in Path("/proc/self/mounts").read_bytes().splitlines()]
    found = [fields[1] for fields in reversed(lines) if devices is None or os.fsdecode(fields[0]) in devices]
    return [Path(os.fsdecode(_ESCAPED.sub(lambda each: bytes([int(each[1], 8)]), name))) for name in found]


def _run(*command: str, accepted: tuple[int, ...] = (0,), seconds: float = _COMMAND_SECONDS) -> str:
    """Run a command that ends when this process is killed.

    The process that goes on from here must find no other at work.
    """
    bound = ("setpriv", "--pdeathsig", "KILL", "--", *command)
    env = {"PATH": _SBIN, "LC_ALL": "C"}
    try:
        done = subprocess.run(bound, capture_output=True, text=True, env=env, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SandboxError(f"{command[0]} took longer than {seconds:.0f} s for {command[-1]}") from None
    if done.returncode not in accepted:
        full = [code for code in DISK_FULL_ERRNOS if os.strerror(code) in done.stderr]
        cause = OSError(full[0], os.strerror(full[0])) if full else None
        raise SandboxError(f"{command[0]} failed for {command[-1]}: {done.stderr.strip()[:300]}") from cause
    return done.stdout
