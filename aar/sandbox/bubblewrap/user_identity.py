"""Users of bubblewrap sandboxes: a private ``/etc`` and resource limits."""

from __future__ import annotations

import shutil
from pathlib import Path

from aar.sandbox.bubblewrap.arguments import INNER_UID, SHARED_ETC
from aar.sandbox.protocol import SandboxSpec
from aar.sandbox.state_dir import SandboxStateDir

_RESERVED_BYTES = 512 * 1024**2
_KEPT = ("ld.so.cache", "localtime")


def rlimits(spec: SandboxSpec, *, limited: bool) -> dict[str, int]:
    """Return resource limits in addition to the usual ones.

    Processes are always limited; the data of one process only where no control group is.

    The data limit is a backstop above the memory limit of the server inside: libraries reserve more than they use.
    """
    limits = {"nproc": spec.max_processes}
    if not limited:
        limits["data"] = 2 * spec.memory_bytes + _RESERVED_BYTES
    return limits


def write_etc(place: SandboxStateDir, uid: int | None) -> Path:
    """Write a small ``/etc``: the user and the library search path.

    It contains nothing of the host's users or network.
    """
    number = INNER_UID if uid is None else uid
    etc = place.path / "etc"
    etc.mkdir(mode=0o755)
    texts = {
        "passwd": f"researcher:x:{number}:{number}:researcher:/workspace:/bin/bash\n",
        "group": f"researcher:x:{number}:\n",
        "hosts": "127.0.0.1 localhost sandbox\n",
        "hostname": "sandbox\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
    for name, text in texts.items():
        (etc / name).write_text(text)
    for name in _KEPT:
        if Path("/etc", name).is_file():
            shutil.copyfile(Path("/etc", name), etc / name)
    for shared in SHARED_ETC:
        (etc / shared.name).mkdir()
    for path in (etc, *etc.iterdir()):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return etc
