"""Removing what controllers that ended left behind: sandboxes, one by one, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from aar.errors import SandboxUnavailable
from aar.sandbox.protocol import SandboxBackend

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of a sweep.

    Args:
        removed: names of sandboxes that are gone.
        left: why each of the others could not be removed whole, by name; the next sweep tries again.
    """

    removed: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


async def sweep(backends: Sequence[SandboxBackend], abandoned: Callable[[str], Awaitable[bool]]) -> Swept:
    """Remove every sandbox of this `aar` home whose campaign is abandoned.

    Args:
        backends: where to look, once each; one that does not answer is passed over.
        abandoned: whether nobody runs the campaign of an id, asked right before a sandbox of it is removed.
    """
    swept = Swept()
    for backend in backends:
        try:
            owners = await backend.owners()
        except SandboxUnavailable as error:
            log.info("a sandbox backend does not answer; what it has is left", backend=backend.name, error=str(error))
            continue
        for name, campaign_id in sorted(owners.items()):
            if not await abandoned(campaign_id):
                continue
            try:
                await backend.remove(name)
            except Exception as error:  # noqa: BLE001 - one sandbox must not keep the others
                log.warning("a sandbox could not be removed", name=name, error=str(error))
                swept.left[name] = str(error) or type(error).__name__
            else:
                swept.removed.append(name)
    return swept
