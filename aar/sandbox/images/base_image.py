"""The base image, pulled or made from Debian's packages, and the scan of an image for hidden data.

The base is made from Debian's packages where no registry is reachable; this is possible on Debian.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from pathlib import Path
from typing import IO, Any

from aar.concurrency import suppress_and_log
from aar.errors import SetupError
from aar.sandbox.docker.engine import unless_status
from aar.sandbox.isolation.data_leak_check import problem_data_index

REGISTRY_BASE = "python:3.11-slim"
_PACKAGES = "python3,python3-venv,procps,ca-certificates"
_CLEAN = 'rm -rf "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
_UNUSED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_BUILD_SECONDS = 1800


def ensure_base_image(api: Any, wanted: str, progress: Callable[[str], None]) -> str:
    """Pull or make a base image and return its tag. Blocks.

    Args:
        api: the docker SDK's low-level client.
        wanted: base image asked for; empty means ``python:3.11-slim``, or Debian's packages where it cannot be pulled.
        progress: called with progress messages.

    Raises:
        SetupError: it can neither be pulled nor made here.
    """
    tag = wanted or REGISTRY_BASE
    debian = "" if wanted else _debian_tag()
    for known in (tag, debian):
        if known and unless_status(partial(api.inspect_image, known), 404) is not None:
            return known
    progress(f"pulling {tag}")
    problem = _pull(api, tag)
    if not problem:
        return tag
    if not debian:
        raise SetupError(f"the base image {tag} cannot be pulled: {problem}", "check the engine's registry, or --base")
    progress(f"no registry ({problem}); making the base from Debian packages")
    _from_packages(api, debian)
    return debian


def _pull(api: Any, tag: str) -> str:
    """Pull an image. Returns the error, or an empty string."""
    import docker.errors

    name, _, version = tag.rpartition(":")
    try:
        for line in api.pull(name, version, stream=True, decode=True):
            if "error" in line:
                return str(line["error"])[:200]
    except docker.errors.APIError as error:
        return str(error.explanation or error)[:200]
    return ""


def _debian_tag() -> str:
    """Return the tag of a base from packages, or empty on other systems."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    codename = release.get("VERSION_CODENAME", "")
    return f"aar-base-debian:{codename}" if release.get("ID") == "debian" and codename else ""


def _from_packages(api: Any, tag: str) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise SetupError("mmdebstrap is not installed", "install it: sudo apt-get install mmdebstrap")
    name, _, codename = tag.rpartition(":")
    unused = [f"--dpkgopt=path-exclude={path}" for path in _UNUSED]
    with tempfile.TemporaryDirectory(prefix="aar-base-") as folder:
        archive = Path(folder) / "base.tar"
        vector = [program, "--quiet", "--variant=minbase", f"--include={_PACKAGES}", *unused]
        done = subprocess.run(
            [*vector, f"--customize-hook={_CLEAN}", codename, str(archive)],
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no error output"])[-1]
            raise SetupError(f"mmdebstrap failed: {last[:300]}", "check this machine's package mirror")
        api.import_image_from_file(str(archive), repository=name, tag=codename)


def scan_image(api: Any, tag: str, hosts: Iterable[str] = ()) -> int:
    """Read every file of an image. Blocks.

    Args:
        api: the docker SDK's low-level client.
        tag: the image.
        hosts: host names (package index, proxy) that its configuration and history may not name.

    Returns:
        The number of files read.

    Raises:
        SetupError: a data file of a problem, the `aar` package, or one of ``hosts`` is in it.
    """
    described = json.dumps([api.inspect_image(tag), api.history(tag)])
    for host in hosts:
        if host in described:
            raise SetupError(f"the image {tag} names the host {host}", "report this as a bug of aar sandbox build")
    made = api.create_container(image=tag, command=["true"], network_disabled=True)
    try:
        return scan_archive(_Stream(api.export(made["Id"])), problem_data_index().digests)
    finally:
        with suppress_and_log("a container could not be removed"):
            api.remove_container(made["Id"], force=True)


def scan_archive(archive: IO[bytes] | _Stream, hidden: Mapping[int, Set[str]]) -> int:
    """Read a tar archive file by file and return their number.

    Raises SetupError: one of the hidden files is in it.

    Args:
        archive: of a file system.
        hidden: size -> SHA-256 digests of files that may not be in it.
    """
    count = 0
    with tarfile.open(fileobj=archive, mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            parts = member.name.split("/")
            if any(a.endswith("-packages") and b == "aar" for a, b in itertools.pairwise(parts)):
                raise SetupError(f"the aar package is in the image, at {member.name}")
            if not member.isfile():
                continue
            count += 1
            if member.size not in hidden:
                continue
            content = tar.extractfile(member)
            if content is not None and hashlib.sha256(content.read()).hexdigest() in hidden[member.size]:
                raise SetupError(f"a problem's data file is in the image, at {member.name}")
    return count


class _Stream:
    """The engine's stream as a file that can be read once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""
        collected = [self._rest]
        have = len(self._rest)
        while size < 0 or have < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            collected.append(piece)
            have += len(piece)
        data = b"".join(collected)
        if size < 0:
            size = len(data)
        data, self._rest = data[:size], data[size:]
        return data
