"""Separate host users for sandboxes, so that they share no per-user kernel limits."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from aar.sandbox.state_dir import SandboxStateDir

FIRST_UID, LAST_UID = 1_879_048_192, 1_879_113_727
"""Range of uids, one per sandbox, far from any that a distribution or a user database assigns."""


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
