"""Supplies one researcher with a sandbox: reuses an earlier controller's, replaces a lost one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial

from sqlalchemy.orm import Session

from aar.concurrency import best_effort, log_failure
from aar.errors import BackendAway, Conflict, SandboxGone
from aar.events import SandboxCreated, SandboxIncident, SandboxLost
from aar.researcher.context import StopRequested
from aar.sandbox.incidents import BackendOutageMonitor, Incident, report_left_behind
from aar.sandbox.protocol import Sandbox, SandboxBackend, SandboxSpec
from aar.store.database import Database
from aar.store.event_log import append_event


class SandboxProvider:
    """The sandbox of one researcher.

    Args:
        backend: makes sandboxes.
        spec: of the sandbox; its workspace outlives every sandbox.
        database: for the events.
        researcher_id: the researcher of the sandbox.
        outages: waits while the backend is out of reach; None never waits.
        stopping: ends that wait.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        spec: SandboxSpec,
        database: Database,
        researcher_id: str,
        outages: BackendOutageMonitor | None = None,
        stopping: asyncio.Event | None = None,
    ) -> None:
        self._backend = backend
        self._spec = spec
        self._database = database
        self._researcher_id = researcher_id
        self._outages = outages or BackendOutageMonitor(0.0)
        self._stopping = stopping
        self._sandbox: Sandbox | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> Sandbox:
        """Return the sandbox in use.

        Make or recover one on the first call and after ``lost``.

        It waits while the backend is out of reach.

        Raises:
            SandboxUnavailable, SandboxError: none could be made.
            Stopping: a pause was requested while the backend was out of reach.
        """
        async with self._lock:
            if self._sandbox is None:
                try:
                    await self._outages.run_when_up(self._opened, self._stopping)
                except BackendAway:
                    if self._stopping is not None and self._stopping.is_set():
                        raise StopRequested from None
                    raise
            assert self._sandbox is not None
            return self._sandbox

    async def lost(self, cause: str) -> None:
        """Mark the sandbox as lost.

        The next call of ``current`` makes a new one on the same workspace.
        """
        async with self._lock:
            if self._sandbox is None:
                return
            sandbox, self._sandbox = self._sandbox, None
            await self._end(sandbox)
            await self._log(SandboxLost(name=self._spec.name, cause=cause))

    async def close(self) -> None:
        """End the sandbox.

        The workspace stays. A failed removal is an incident, never an error.
        """
        async with self._lock:
            if self._sandbox is not None:
                sandbox, self._sandbox = self._sandbox, None
                await self._end(sandbox)

    async def _end(self, sandbox: Sandbox) -> None:
        left: list[Incident] = []
        await best_effort(
            sandbox.destroy(), partial(report_left_behind, left.append, self._spec.name, self._spec.campaign_id)
        )
        for each in left:
            told = SandboxIncident(name=each.sandbox, incident=str(each.kind), detail=each.detail)
            # Database errors are handled where an outcome is written.
            await best_effort(self._log(told), log_failure("could not log an incident"))

    async def _opened(self) -> None:
        opening = asyncio.ensure_future(self._open())
        try:
            self._sandbox = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A half-made sandbox could not be found again; `close` ends a complete one.
            with contextlib.suppress(Exception):
                self._sandbox = await opening
            raise

    async def _open(self) -> Sandbox:
        started = time.monotonic()
        try:
            sandbox = await self._backend.attach(self._spec)
        except SandboxGone:
            await self._backend.remove(self._spec.name)
            try:
                sandbox = await self._backend.create(self._spec)
            except Conflict:
                await self._backend.remove(self._spec.name)
                sandbox = await self._backend.create(self._spec)
        milliseconds = round((time.monotonic() - started) * 1000)
        await self._log(SandboxCreated(name=self._spec.name, backend=self._backend.name, milliseconds=milliseconds))
        return sandbox

    async def _log(self, happened: SandboxCreated | SandboxLost | SandboxIncident) -> None:
        def write(session: Session) -> None:
            append_event(session, self._spec.campaign_id, happened, self._researcher_id)

        await self._database.write(write)
