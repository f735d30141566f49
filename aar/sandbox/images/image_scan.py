"""Scan of an image for hidden data: every file is read and compared."""

from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from collections.abc import Iterable, Mapping, Set
from typing import IO, Any

from aar.best_effort import suppress_and_log
from aar.errors import SetupError
from aar.sandbox.isolation.data_leak_check import problem_data_index


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
