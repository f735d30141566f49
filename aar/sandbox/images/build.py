"""The image builder: base, wheels, a Dockerfile without network, the scan, then the tag."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aar.concurrency import suppress_and_log
from aar.errors import SetupError
from aar.sandbox.docker.engine import Engine, Kind, default_tag, unless_status
from aar.sandbox.images.base_image import ensure_base_image, scan_image

_PROBE = "import sys, os; print('%d.%d' % sys.version_info[:2], os.uname().machine)"
_FETCH_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A built image: its tag, base and size, and the number of files scanned."""

    tag: str
    base: str
    size_bytes: int
    files_checked: int


async def build_image(
    kind: Kind = "cpu",
    progress: Callable[[str], None] = lambda _line: None,
    *,
    base: str = "",
) -> BuiltImage:
    """Build the image of that kind and scan it.

    It gets its tag only when the scan finds nothing.

    Args:
        kind: ``cpu`` or ``gpu``.
        progress: called with one line a step, from a thread.
        base: base image; empty means ``python:3.11-slim``, or one made from Debian packages where there is no registry.

    Raises:
        SandboxUnavailable: the engine does not answer.
        SetupError: a step failed; names it.
    """
    engine = Engine()
    try:
        return await engine.call(lambda api: _build(api, kind, progress, base))
    finally:
        await asyncio.to_thread(engine.close)


def _build(api: Any, kind: Kind, progress: Callable[[str], None], wanted_base: str) -> BuiltImage:
    base = ensure_base_image(api, wanted_base, progress)
    python, machine = _python_of(api, base)
    tag, candidate = default_tag(kind), f"aar-candidate:{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="aar-image-") as folder:
        context = Path(folder)
        recipes = resources.files("aar.sandbox.images") / "recipes"
        dockerfile, pins = (recipes / f"{kind}.Dockerfile").read_bytes(), (recipes / f"{kind}.txt").read_bytes()
        (context / "Dockerfile").write_bytes(dockerfile)
        (context / "requirements.txt").write_bytes(pins)
        recipe = hashlib.sha256(dockerfile + pins).hexdigest()[:16]  # the image's label org.aar.recipe
        progress(f"fetching packages for Python {python} on {machine}")
        fetch_wheels(context / "requirements.txt", context / "wheels", python=python, machine=machine)
        progress(f"building on {base}")
        try:
            _run_build(api, context, candidate, {"BASE_IMAGE": base, "RECIPE": recipe})
            progress("looking for hidden data in the image")
            checked = scan_image(api, candidate, index_hosts())
            repository, _, version = tag.rpartition(":")
            api.tag(candidate, repository, version)
            size = int(api.inspect_image(tag)["Size"])
        finally:
            with suppress_and_log("what a build left could not be removed"):
                unless_status(
                    lambda: api.remove_image(candidate, noprune=False), 404
                )  # the build may have failed before
                api.prune_images(filters={"dangling": True, "label": [f"org.aar.kind={kind}"]})
    progress(f"built {tag}")
    return BuiltImage(tag, base, size, checked)


def _run_build(api: Any, context: Path, tag: str, arguments: dict[str, str]) -> None:
    archive = context.parent / f"{context.name}.tar"
    try:
        with tarfile.open(archive, "w") as tar:
            tar.add(context, arcname=".")
        with archive.open("rb") as file:
            lines = api.build(
                fileobj=file,
                custom_context=True,
                tag=tag,
                buildargs=arguments,
                network_mode="none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            last = ""
            for line in lines:
                last = line.get("stream", "").strip() or last
                if "error" in line:
                    raise SetupError(f"image build failed: {line['error'][:300]} (after: {last[:200]})")
    finally:
        with suppress_and_log("the archive of a build could not be removed"):
            archive.unlink(missing_ok=True)


def _python_of(api: Any, base: str) -> tuple[str, str]:
    """Return version and machine of the Python in an image."""
    made = api.create_container(image=base, command=["python3", "-c", _PROBE], entrypoint=[], network_disabled=True)
    try:
        api.start(made["Id"])
        code = api.wait(made["Id"])["StatusCode"]
        answer = api.logs(made["Id"]).decode(errors="replace").split()
    finally:
        with suppress_and_log("a container could not be removed"):
            api.remove_container(made["Id"], force=True)
    if code != 0 or len(answer) != 2:
        raise SetupError(f"the base image {base} has no python3", "choose another with --base")
    return answer[0], answer[1]


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
    done = subprocess.run(vector, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise SetupError(
            f"pip cannot fetch the image's packages: {' '.join(errors[-2:])[:400]}", "check the package index"
        )


def index_hosts() -> set[str]:
    """Return host names in this machine's pip settings.

    None of them may appear in an image.
    """
    done = subprocess.run([*_pip(), "config", "list"], capture_output=True, text=True, timeout=60, check=False)
    words = [word.strip("'\"") for word in done.stdout.replace("=", " ").split()]
    words += [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL")]
    words += [os.environ.get(name, "") for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")]
    return {host for word in words if "://" in word and (host := urlsplit(word).hostname)}


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for program in ("pip3", "pip"):
        found = shutil.which(program)
        if found:
            return [found]
    raise SetupError("pip is not installed on this host", f"install it: {sys.executable} -m ensurepip")
