"""The base image: pulled from a registry, or made from Debian's packages.

The latter is possible on Debian, where no registry is reachable.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aar.errors import SetupError

REGISTRY_BASE = "python:3.11-slim"
_PACKAGES = "python3,python3-venv,procps,ca-certificates"
_CLEAN = 'rm -rf "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
_UNUSED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_BUILD_SECONDS = 1800


def ensure_base_image(api: Any, wanted: str, say: Callable[[str], None]) -> str:
    """Pull or make a base image and return its tag. Blocks.

    Args:
        api: the docker SDK's low-level client.
        wanted: base image asked for; empty means ``python:3.11-slim``, or Debian's packages where it cannot be pulled.
        say: called with progress messages.

    Raises:
        SetupError: it can neither be pulled nor made here.
    """
    tag = wanted or REGISTRY_BASE
    debian = "" if wanted else _debian_tag()
    for known in (tag, debian):
        if known and _has(api, known):
            return known
    say(f"pulling {tag}")
    problem = _pull(api, tag)
    if not problem:
        return tag
    if not debian:
        raise SetupError(f"the base image {tag} cannot be pulled: {problem}", "check the engine's registry, or --base")
    say(f"no registry ({problem}); making the base from Debian packages")
    _from_packages(api, debian)
    return debian


def _has(api: Any, tag: str) -> bool:
    import docker.errors

    try:
        api.inspect_image(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


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
            said = (done.stderr.strip().splitlines() or ["no error output"])[-1]
            raise SetupError(f"mmdebstrap failed: {said[:300]}", "check this machine's package mirror")
        api.import_image_from_file(str(archive), repository=name, tag=codename)
