"""Pinned packages of an image, fetched on the host.

The host's index, proxy and certificates stay on the host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from aar.errors import SetupError

_SECONDS = 3600


def fetch_wheels(requirements: Path, target: Path, *, python: str, machine: str) -> None:
    """Download wheels for the image's Python. Blocks.

    Args:
        requirements: exact versions with hashes.
        target: directory for the wheels; made if absent.
        python: version of the image's Python, such as ``3.11``.
        machine: the image's machine, such as ``x86_64``.

    Raises:
        SetupError: no pip on this host, or the index lacks a package.
    """
    target.mkdir(parents=True, exist_ok=True)
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (28, 27, 24, 17)] + [f"manylinux2014_{machine}"]
    vector = [*_pip(), "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    vector += ["--python-version", python, "--implementation", "cp"]
    vector += ["--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
    vector += [argument for name in platforms for argument in ("--platform", name)]
    vector += ["-r", str(requirements), "-d", str(target)]
    done = subprocess.run(vector, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise SetupError(
            f"pip cannot fetch the image's packages: {' '.join(said[-2:])[:400]}", "check the package index"
        )


def index_hosts() -> set[str]:
    """Return host names in this machine's pip settings.

    None of them may appear in an image.
    """
    from urllib.parse import urlsplit

    done = subprocess.run([*_pip(), "config", "list"], capture_output=True, text=True, timeout=60, check=False)
    words = [word.strip("'\"") for word in done.stdout.replace("=", " ").split()]
    words += [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL")]
    words += [os.environ.get(name, "") for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")]
    return {host for word in words if "://" in word and (host := urlsplit(word).hostname)}


def _pip() -> list[str]:
    import importlib.util

    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for program in ("pip3", "pip"):
        found = shutil.which(program)
        if found:
            return [found]
    raise SetupError("pip is not installed on this host", f"install it: {sys.executable} -m ensurepip")
