"""The argument vector of one bubblewrap sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.sandbox.bubblewrap.python_mounts import (
    BIN,
    PYTHON,
    directory_arguments,
    library_path,
    python_mounts,
)
from aar.sandbox.channel.server_launch import CHANNEL_TARGET, SERVER_SOURCE, SERVER_TARGET, server_command
from aar.sandbox.isolation.cgroups import Cgroup, oom_counter_paths
from aar.sandbox.isolation.kernel_files import ReplacementFiles, hidden_in_proc
from aar.sandbox.protocol import WORKSPACE, SandboxSpec

PATH = f"{BIN}:{PYTHON}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
INNER_UID = 10001
SHARED_ETC = (Path("/etc/alternatives"),)
"""Parts of the host's ``/etc`` shown unchanged: links that lead to commands such as ``awk``."""
_TMP_BYTES = 256 * 1024**2
_PRIVILEGES = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")


@dataclass(frozen=True, slots=True)
class BwrapDescriptors:
    """Descriptors that bwrap inherits.

    It writes its child's pid to one and waits on the other.
    """

    info: int
    block: int


def bwrap_arguments(
    spec: SandboxSpec,
    *,
    channel: Path,
    etc: Path,
    kernel_files: ReplacementFiles,
    drop_to: int | None,
    group: Cgroup | None,
    distributions: Sequence[str],
    descriptors: BwrapDescriptors,
) -> list[str]:
    """Build the arguments that follow ``bwrap``.

    Args:
        channel, etc: host directories for ``/run/aar`` and ``/etc``.
        kernel_files: files to show below ``/proc``.
        drop_to: as root, the uid that the first process drops to before it runs anything; None: a user namespace.
        group: control group whose out-of-memory counter is shown inside.
        distributions: Python packages to show.

    Raises:
        SandboxUnavailable: a distribution is not installed.
    """
    made = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    made += ["--hostname", "sandbox", "--new-session", "--clearenv", "--as-pid-1", "--cap-drop", "ALL"]
    if drop_to is None:
        made += ["--unshare-user", "--uid", str(INNER_UID), "--gid", str(INNER_UID), "--disable-userns"]
    else:
        for capability in _PRIVILEGES:
            made += ["--cap-add", capability]
    made += python_mounts(tuple(distributions))
    made += ["--proc", "/proc", "--dev", "/dev", "--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    made += _kernel_files(kernel_files, gpu=bool(spec.gpus))
    made += ["--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
    for target in ("/etc", CHANNEL_TARGET, SERVER_TARGET, "/run/cgroup", WORKSPACE, *(m.target for m in spec.mounts)):
        made += directory_arguments(target)
    made += ["--ro-bind", str(etc), "/etc", "--ro-bind", str(channel), CHANNEL_TARGET]
    for shared in SHARED_ETC:
        made += ["--ro-bind-try", str(shared), str(shared)]
    made += ["--ro-bind", str(SERVER_SOURCE), SERVER_TARGET]
    for path in oom_counter_paths(group) if group else ():
        made += ["--ro-bind", str(path), "/run/cgroup"]
    made += ["--bind", str(spec.workspace.absolute()), WORKSPACE]
    for mount in spec.mounts:
        made += ["--bind" if mount.writable else "--ro-bind", str(mount.source.absolute()), mount.target]
    for device in gpu_devices(spec.gpus):
        made += ["--dev-bind", device, device]
    made += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE, "--setenv", "PATH", PATH]
    if library_path():
        made += ["--setenv", "LD_LIBRARY_PATH", library_path()]
    made += ["--info-fd", str(descriptors.info), "--block-fd", str(descriptors.block)]
    return [*made, "--", *(_drop(drop_to) if drop_to is not None else ()), *server_command(f"{BIN}/python3")]


def _kernel_files(files: ReplacementFiles, *, gpu: bool) -> list[str]:
    hidden = hidden_in_proc(gpu=gpu)
    shown = {
        **files.fixed,
        **dict.fromkeys(hidden.files, files.empty_file),
        **dict.fromkeys(hidden.folders, files.empty_folder),
    }
    return [argument for path, source in shown.items() for argument in ("--ro-bind", str(source), path)]


def gpu_devices(gpus: Sequence[str]) -> list[str]:
    """Return device files of NVIDIA GPUs by index.

    The control devices that every GPU needs are included.
    """
    if not gpus:
        return []
    shared = [p for p in ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools") if Path(p).exists()]
    return [*shared, *(f"/dev/nvidia{index}" for index in gpus)]


def _drop(uid: int) -> list[str]:
    ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return ["/usr/bin/setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]
