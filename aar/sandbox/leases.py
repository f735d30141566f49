"""Leases of cores and GPUs on one machine, shared by all campaigns on it.

Researchers and scoring runs hold them.

- A scoring run gets exclusive cores, from a set that no researcher may use, so that its timing is comparable and
  researchers cannot starve it. Researchers share the other cores.
- A GPU belongs to one holder at a time. Scoring runs come first; among researchers, the one that has held GPUs for the
  shortest time so far. Where there are two GPUs or more, one is reserved for scoring runs.
- A lease ends with its holder's process: one of a controller that was killed is free at the next check.

The lease file is small and locked, so that campaigns of several controllers see each other.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from anyio import CancelScope

from aar.concurrency import run_to_completion
from aar.errors import UsageError
from aar.processes import HostProcess
from aar.sandbox.state_dir import runtime_root

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_POLL_SECONDS = 0.05
_REMEMBERED_SECONDS = 24 * 3600.0
_SCORING, _RESEARCHER = "scoring", "researcher"


@dataclass(frozen=True, slots=True)
class Lease:
    """Resources that a holder may use: host cores and GPU ids.

    Cores are shared for researchers and exclusive for scoring runs.
    """

    id: str
    cores: tuple[int, ...]
    gpus: tuple[str, ...]


class Leases:
    """The cores and GPUs of this machine.

    Args:
        cores: core numbers to give; None means those that this process may use.
        gpus: GPU ids to give; None means those that the NVIDIA driver shows.
        scoring_cores: number of cores reserved for scoring runs; None means a quarter, at least one. A machine with one
            core reserves none: scoring runs then share it.
        book: file that holds the leases; None means the one of this machine and user.
    """

    def __init__(
        self,
        cores: Sequence[int] | None = None,
        gpus: Sequence[str] | None = None,
        scoring_cores: int | None = None,
        lease_file: Path | None = None,
    ) -> None:
        self._cores = tuple(sorted(os.sched_getaffinity(0) if cores is None else cores))
        self._gpus = tuple(detect_gpus() if gpus is None else gpus)
        reserved = max(1, len(self._cores) // 4) if scoring_cores is None else scoring_cores
        reserved = min(reserved, len(self._cores) - 1)
        self.scoring_cores = self._cores[len(self._cores) - reserved :] if reserved else self._cores
        """Cores for scoring runs."""
        self.shared_cores = self._cores[: len(self._cores) - reserved] or self._cores
        """Cores shared by all researchers."""
        self._exclusive = reserved > 0
        self._book = (lease_file or runtime_root() / "leases.json").absolute()
        self._over: set[str] = set()

    @property
    def researcher_gpus(self) -> int:
        """The largest number of GPUs for one researcher.

        Of several GPUs, one is reserved for scoring runs.
        """
        return len(self._gpus) - 1 if len(self._gpus) > 1 else len(self._gpus)

    def scoring_core_sets(self, cores: int) -> list[tuple[int, ...]]:
        """Return the core sets for scoring runs that want ``cores`` cores each."""
        if not self._exclusive:
            return [self._cores]
        wanted = min(cores, len(self.scoring_cores))
        starts = range(0, len(self.scoring_cores) - wanted + 1, wanted)
        return [self.scoring_cores[start : start + wanted] for start in starts]

    @asynccontextmanager
    async def lease_for_scoring(self, *, cores: int = 1, gpus: int = 0, owner: str = "") -> AsyncIterator[Lease]:
        """Hold exclusive cores, and GPUs, for a scoring run.

        Waits until they are free.

        Args:
            cores: their number; more than are reserved for scoring runs means all of those.
            gpus: their number.
            owner: the holder's name, for the lease file.

        Raises:
            UsageError: this machine never has as many GPUs.
        """
        wanted = min(cores, len(self.scoring_cores)) if self._exclusive else 0
        async with self._held(_SCORING, owner, wanted, gpus, len(self._gpus)) as lease:
            yield lease if self._exclusive else Lease(lease.id, self._cores, lease.gpus)

    @asynccontextmanager
    async def lease_for_researcher(self, owner: str, *, gpus: int = 0) -> AsyncIterator[Lease]:
        """Share the researchers' cores, and hold GPUs, for a researcher.

        Waits until the GPUs are free.

        Args:
            owner: the researcher's id; the one that has held GPUs for the shortest time comes first.
            gpus: their number.

        Raises:
            UsageError: researchers never get as many GPUs on this machine.
        """
        async with self._held(_RESEARCHER, owner, 0, gpus, self.researcher_gpus) as lease:
            yield Lease(lease.id, self.shared_cores, lease.gpus)

    @asynccontextmanager
    async def _held(self, kind: str, owner: str, cores: int, gpus: int, most: int) -> AsyncIterator[Lease]:
        if gpus > most:
            raise UsageError(f"too many GPUs for a {kind}: got {gpus}, expected at most {most}", "request fewer")
        me = HostProcess.current()
        entry = {
            "id": uuid.uuid4().hex,
            "kind": kind,
            "owner": owner,
            "cores": cores,
            "gpus": gpus,
            "process": [me.pid, me.started],
            "since": time.time(),
        }
        lease = None
        try:
            await run_to_completion(partial(self._change, lambda book: book["waiting"].append(entry)))
            while (lease := await run_to_completion(partial(self._try, entry))) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)  # the holder may be another process: there is no event to wait for
            yield lease
        finally:
            # Waited for even when cancelled: a cancelled holder gives its lease back all the same.
            with CancelScope(shield=True):
                await self._give_back(str(entry["id"]))

    async def _give_back(self, entry_id: str) -> None:
        """Remove a lease from the lease file.

        If that fails, the next change removes it: work done under the lease stands.
        """
        self._over.add(entry_id)
        try:
            await run_to_completion(partial(self._change, lambda _: None))
        except Exception as error:  # noqa: BLE001 - such as a full disk; how the holder's work ended is known
            log.warning("a lease could not be given back yet", error=str(error))

    def _try(self, entry: dict[str, Any]) -> Lease | None:
        def look(book: dict[str, Any]) -> Lease | None:
            if _next(book, self._free(book)) != entry["id"]:
                return None
            cores, gpus = self._free(book)
            given = Lease(entry["id"], tuple(cores[: entry["cores"]]), tuple(gpus[: entry["gpus"]]))
            book["waiting"] = [w for w in book["waiting"] if w["id"] != entry["id"]]
            granted = {**entry, "given_cores": given.cores, "given_gpus": given.gpus, "since": time.time()}
            book["held"].append(granted)
            return given

        return self._change(look)

    def _free(self, book: dict[str, Any]) -> tuple[list[int], list[str]]:
        cores = {core for held in book["held"] for core in held["given_cores"]}
        gpus = {gpu for held in book["held"] for gpu in held["given_gpus"]}
        free_cores = [core for core in self.scoring_cores if core not in cores]
        return free_cores, [gpu for gpu in self._gpus if gpu not in gpus]

    def _change(self, change: Callable[[dict[str, Any]], _T]) -> _T:
        over = set(self._over)
        with _locked(self._book) as book:
            for entry_id in over:
                _end(book, entry_id)
            book["waiting"] = [w for w in book["waiting"] if HostProcess(*w["process"]).alive()]
            for dead in [h for h in book["held"] if not HostProcess(*h["process"]).alive()]:
                _end(book, dead["id"])
            book["spare_gpus"] = 1 if len(self._gpus) > 1 else 0
            done = change(book)
        self._over -= over
        return done


def _next(book: dict[str, Any], free: tuple[list[int], list[str]]) -> str | None:
    """Return the id of the waiting entry to serve now.

    It is the first in order, if the cores and GPUs that it wants are free.

    A smaller entry behind the first is not served, because that could starve the first.
    """
    cores, gpus = len(free[0]), len(free[1])
    queue = sorted(book["waiting"], key=lambda w: _order(book, w))
    for waiting in queue:
        usable = gpus if waiting["kind"] == _SCORING else gpus - _unused_spare(book)
        if waiting["cores"] <= cores and waiting["gpus"] <= max(0, usable):
            return str(waiting["id"])
        cores -= waiting["cores"]
        gpus -= waiting["gpus"]
    return None


def _order(book: dict[str, Any], waiting: dict[str, Any]) -> tuple[bool, float, float]:
    served = _served(book, waiting["owner"]) if waiting["kind"] == _RESEARCHER else 0.0
    return waiting["kind"] != _SCORING, served, waiting["since"]


def _unused_spare(book: dict[str, Any]) -> int:
    """Return GPUs reserved for scoring runs that no scoring run holds now."""
    used = sum(len(held["given_gpus"]) for held in book["held"] if held["kind"] == _SCORING)
    return max(0, int(book["spare_gpus"]) - used)


def _end(book: dict[str, Any], entry_id: str) -> None:
    """Remove an entry from the lease file and record the time that it held GPUs."""
    book["waiting"] = [w for w in book["waiting"] if w["id"] != entry_id]
    for held in [h for h in book["held"] if h["id"] == entry_id]:
        book["held"].remove(held)
        if held["given_gpus"] and held["kind"] == _RESEARCHER:
            seconds = (time.time() - held["since"]) * len(held["given_gpus"])
            book["gpu_seconds"][held["owner"]] = [_served(book, held["owner"]) + seconds, time.time()]
    _forget(book)


def _served(book: dict[str, Any], owner: str) -> float:
    """Return the time for which an owner has held GPUs so far."""
    return float(book["gpu_seconds"].get(owner, (0.0, 0.0))[0])


def _forget(book: dict[str, Any]) -> None:
    """Forget owners that held no GPU for a day.

    They come first in any case, and the lease file must not grow.
    """
    oldest = time.time() - _REMEMBERED_SECONDS
    book["gpu_seconds"] = {owner: each for owner, each in book["gpu_seconds"].items() if each[1] > oldest}


@contextmanager
def _locked(path: Path) -> Iterator[dict[str, Any]]:
    """Lock the lease file, and write it back in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            book = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            book = {"waiting": [], "held": [], "gpu_seconds": {}}
        # An older version wrote seconds alone.
        book["gpu_seconds"] = {owner: each for owner, each in book["gpu_seconds"].items() if isinstance(each, list)}
        yield book
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(book))
        temporary.replace(path)


def detect_gpus() -> list[str]:
    """Return indices of this machine's NVIDIA GPUs, from their device files."""
    found = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted((name for name in found if name.isdigit()), key=int)
