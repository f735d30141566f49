"""Finding at start what a former controller left behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aar.errors import SandboxUnavailable
from aar.sandbox.protocol import SandboxBackend


async def sweep(backends: Sequence[SandboxBackend], live_campaigns: Collection[str]) -> list[str]:
    """Remove every sandbox of this `aar` home whose campaign is not alive.

    Args:
        backends: where to look; one that does not answer is passed over.
        live_campaigns: ids of campaigns that another controller runs, or that are about to attach again.

    Returns:
        Names of what was removed.
    """
    removed = []
    for backend in backends:
        try:
            names = set(await backend.orphans())
            kept = {name for campaign in live_campaigns for name in await backend.orphans(campaign)}
        except SandboxUnavailable:
            continue
        for name in sorted(names - kept):
            await backend.remove(name)
            removed.append(name)
    return removed
