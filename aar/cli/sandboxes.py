"""The sandboxes of this machine's `aar` home: found, measured, entered and removed from outside.

A sandbox in use belongs to its campaign's controller, which holds the one channel into it. So nothing here attaches;
sizes come from the host's own books.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.campaign.control import HEARTBEAT_DEAD
from aar.campaign.views import CampaignView, list_campaigns
from aar.cli.opening import opened
from aar.errors import NotFound
from aar.sandbox import cgroups
from aar.sandbox.bubblewrap.backend import shell as bubblewrap_shell
from aar.sandbox.bubblewrap.body import BwrapBody
from aar.sandbox.choose import BACKENDS, backend_named
from aar.sandbox.docker.backend import shell as docker_shell
from aar.sandbox.docker.engine import Engine
from aar.sandbox.docker.options import LABEL, container_name
from aar.sandbox.protocol import SandboxStats
from aar.sandbox.runtime import Place, runtime_root
from aar.sandbox.workspaces import used as workspace_bytes
from aar.store.types import now

_CAMPAIGNS = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """A sandbox that exists.

    Args:
        known: whether the database holds its campaign.
        in_use: whether that campaign's controller is alive.
    """

    name: str
    backend: str
    campaign_id: str
    known: bool
    in_use: bool


def found(database: str | None) -> list[Found]:
    """Every sandbox of every backend that works here. Raises DatabaseError."""
    with opened(database) as workplace, workplace.database.reading() as session:
        campaigns = {view.id: view for view in list_campaigns(session, limit=_CAMPAIGNS)}
    return asyncio.run(_found(campaigns))


async def _found(campaigns: dict[str, CampaignView]) -> list[Found]:
    result: list[Found] = []
    for each in map(backend_named, BACKENDS):
        if (await each.check()).ok:
            for name in await each.orphans():
                campaign_id = name.partition("-")[0]
                view = campaigns.get(campaign_id)
                in_use = view is not None and _is_run(view)
                result.append(Found(name, each.name, campaign_id, view is not None, in_use))
        await each.close()
    return result


def _is_run(view: CampaignView) -> bool:
    beat = view.heartbeat_at
    return view.state == "running" and beat is not None and now() - beat < HEARTBEAT_DEAD


def one(name: str, database: str | None) -> Found:
    """The sandbox of that name. Raises NotFound."""
    everything = found(database)
    for each in everything:
        if each.name == name:
            return each
    near = difflib.get_close_matches(name, [each.name for each in everything], n=1)
    raise NotFound(f"no sandbox {name}", f"Did you mean {near[0]}?" if near else "See `aar sandbox list`")


def shell_command(each: Found) -> list[str]:
    """The command line that opens a shell in it. Raises SandboxGone, SandboxError."""
    return bubblewrap_shell(each.name) if each.backend == "bubblewrap" else docker_shell(each.name)


async def remove(chosen: Sequence[Found]) -> None:
    """End and remove sandboxes; their workspaces stay."""
    for kind in sorted({each.backend for each in chosen}):
        made = backend_named(kind)
        for each in chosen:
            if each.backend == kind:
                await made.remove(each.name)
        await made.close()


async def usage(everything: Sequence[Found]) -> dict[Found, SandboxStats | None]:
    """What each uses now; None where the host's books do not tell."""
    engine = Engine()
    try:
        return {
            each: await (_bubblewrap_usage(each) if each.backend == "bubblewrap" else _docker_usage(engine, each))
            for each in everything
        }
    finally:
        engine.close()


async def _bubblewrap_usage(each: Found) -> SandboxStats | None:
    place = Place(runtime_root(), "bubblewrap", each.name)
    state = place.load()
    return None if state is None else await BwrapBody.restored(place, state).usage()


async def _docker_usage(engine: Engine, each: Found) -> SandboxStats | None:
    container = await engine.inspect(container_name(each.name))
    if container is None or not container["State"]["Running"]:
        return None
    group = cgroups.of_process(int(container["State"]["Pid"]))
    used = group.usage() if group is not None else None
    if used is None:
        return None
    workspace = Path(container["Config"]["Labels"][f"{LABEL}.workspace"])
    return SandboxStats(used.memory_bytes, used.processes, used.cpu_seconds, workspace_bytes(workspace))
