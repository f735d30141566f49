"""The bubblewrap backend: makes, finds and removes sandboxes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from functools import partial

from aar.best_effort import best_effort, log_failure
from aar.concurrency import run_to_completion
from aar.errors import Conflict, SandboxError, SandboxGone
from aar.sandbox import workspaces
from aar.sandbox.bubblewrap import user_identity
from aar.sandbox.bubblewrap.arguments import PATH, BwrapDescriptors, bwrap_arguments
from aar.sandbox.bubblewrap.availability import bubblewrap_availability
from aar.sandbox.bubblewrap.host_control import BubblewrapHostControl
from aar.sandbox.bubblewrap.process_start import start_bwrap
from aar.sandbox.bubblewrap.python_mounts import DEFAULT_DISTRIBUTIONS, SITE, library_path
from aar.sandbox.channel.channel_sandbox import ChannelSandbox
from aar.sandbox.channel.client import ChannelClient
from aar.sandbox.channel.server_launch import ABANDONED_SECONDS, base_environment, write_config
from aar.sandbox.incidents import IncidentSink, report_left_behind, report_pruned_tree
from aar.sandbox.isolation import cgroups
from aar.sandbox.isolation.data_leak_check import check_mounts
from aar.sandbox.isolation.host_uids import unprivileged_uid
from aar.sandbox.isolation.kernel_files import write_replacement_files
from aar.sandbox.protocol import Availability, SandboxSpec
from aar.sandbox.state_dir import SandboxStateDir, home_scope, list_states, runtime_root, validate_sandbox_name

_START_SECONDS = 30.0
_ATTACH_SECONDS = 5.0


class BubblewrapBackend:
    """Sandboxes made by bubblewrap.

    Args:
        distributions: Python packages, installed beside `aar`, that commands may import.
        abandoned_after: seconds without any controller after which a sandbox ends itself.
        on_incident: called with each incident: a thing stopped, refused or lost in any of its sandboxes.
    """

    name = "bubblewrap"

    def __init__(
        self,
        distributions: Sequence[str] = DEFAULT_DISTRIBUTIONS,
        abandoned_after: float = ABANDONED_SECONDS,
        on_incident: IncidentSink | None = None,
    ) -> None:
        self._distributions = tuple(distributions)
        self._abandoned_after = abandoned_after
        self._on_incident = on_incident
        self._live: dict[str, ChannelSandbox] = {}

    async def check(self) -> Availability:
        """Check that bubblewrap works here.

        Makes an empty sandbox once and caches the result.
        """
        return await asyncio.to_thread(bubblewrap_availability, self._distributions)

    async def create(self, spec: SandboxSpec) -> ChannelSandbox:
        """Make and start a sandbox. Raises SandboxUnavailable, SandboxError, Conflict."""
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(spec.name))
        state = place.load()
        if state is not None and not place.is_being_created():
            body = BubblewrapHostControl.from_state(place, state)
            if body.alive:
                raise Conflict(f"a sandbox named {spec.name} is running", "attach to it, or remove it first")
            report_pruned_tree(self._on_incident, spec.name, spec.campaign_id, await body.release())
        await run_to_completion(partial(place.claim, spec), place.remove)
        channel = ChannelClient(spec.name, place.channel)
        body = BubblewrapHostControl(place, spec.workspace.absolute(), keep=spec.keep_workspace)
        try:
            await channel.listen()
            await run_to_completion(partial(self._start, spec, place, body))
            await channel.connected(body.first_process, _START_SECONDS)
        except BaseException as error:
            # The caller needs the first error.
            left = partial(report_left_behind, self._on_incident, spec.name, spec.campaign_id)
            said = await asyncio.to_thread(body.last_output)
            await best_effort(channel.close(), left)
            await best_effort(body.release(), left)
            if isinstance(error, SandboxGone):
                raise SandboxError(f"sandbox {spec.name} did not start: {said or error.message}") from error
            raise
        return self._remember(ChannelSandbox(spec, channel, body, self._on_incident))

    def _start(self, spec: SandboxSpec, place: SandboxStateDir, body: BubblewrapHostControl) -> None:
        check_mounts(spec.mounts)
        uid = unprivileged_uid(place)
        bounded = workspaces.prepare(body.workspace, spec.workspace_bytes, uid)
        group = cgroups.create_cgroup(f"{home_scope()}-{place.path.name}", note=partial(body.will_have, spec))
        if group is not None:
            group.limit(spec)
        body.group = group
        env = base_environment(spec, path=PATH, site=SITE)
        if library_path():
            env["LD_LIBRARY_PATH"] = library_path()
        write_config(
            place.channel,
            spec,
            env,
            watch_workspace=not bounded,
            watch_memory=group is None,
            rlimits=user_identity.rlimits(spec, limited=group is not None),
            abandoned_after=self._abandoned_after,
        )
        etc = user_identity.write_etc(place, uid)
        kernel_files = write_replacement_files(place.kernel_files, spec)

        def vector(descriptors: BwrapDescriptors) -> Sequence[str]:
            return bwrap_arguments(
                spec,
                channel=place.channel,
                etc=etc,
                kernel_files=kernel_files,
                drop_to=uid,
                group=group,
                distributions=self._distributions,
                descriptors=descriptors,
            )

        def before_run(pid: int) -> None:
            body.record_first_process(spec, pid)
            if group is not None:
                group.add(pid)
            if spec.cores:
                os.sched_setaffinity(pid, spec.cores)

        body.record_bwrap(start_bwrap(vector, place.path / "bwrap.log", before_run))

    async def attach(self, spec: SandboxSpec) -> ChannelSandbox:
        """Attach to a sandbox that a former controller made. Raises SandboxGone."""
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(spec.name))
        await self._detach_sandbox(spec.name)
        state = place.load()
        body = BubblewrapHostControl.from_state(place, state) if state is not None else None
        if body is None or not body.alive:
            raise SandboxGone(f"no sandbox named {spec.name} is running", "create it; its workspace is retained")
        channel = ChannelClient(spec.name, place.channel)
        await channel.listen()
        sandbox = ChannelSandbox(spec, channel, body, self._on_incident)
        try:
            await channel.connected(body.first_process, _ATTACH_SECONDS)
            await sandbox.adopt_jobs(_ATTACH_SECONDS)
        except SandboxGone:
            await sandbox.destroy()
            raise
        return self._remember(sandbox)

    async def owners(self) -> Mapping[str, str]:
        """Return campaign ids by sandbox name.

        Dead sandboxes that left something behind are included.
        """
        found = await asyncio.to_thread(lambda: list(list_states(runtime_root(), self.name)))
        return {state["name"]: state["campaign"] for state in found}

    async def orphans(self, campaign_id: str | None = None) -> Sequence[str]:
        """Return the names of existing sandboxes.

        Dead ones that left something behind are included.
        """
        return [name for name, owner in (await self.owners()).items() if campaign_id in (None, owner)]

    async def remove(self, name: str) -> None:
        """End and remove a sandbox by name. Does nothing when it is absent."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.destroy()
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(name))
        state = place.load()
        if state is not None:
            cut = await BubblewrapHostControl.from_state(place, state).release()
            report_pruned_tree(self._on_incident, name, state["campaign"], cut)

    async def close(self) -> None:
        """Close connections. Running sandboxes stay for a later ``attach``."""
        live, self._live = list(self._live.values()), {}
        for sandbox in live:
            await best_effort(sandbox.detach(), log_failure("a sandbox could not be let go of"))

    async def _detach_sandbox(self, name: str) -> None:
        """Free the channel of a sandbox held by this object, for a new one."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.detach()

    def _remember(self, sandbox: ChannelSandbox) -> ChannelSandbox:
        self._live[sandbox.spec.name] = sandbox
        return sandbox
