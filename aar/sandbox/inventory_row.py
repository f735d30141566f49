"""One row of the sandbox inventory."""

from __future__ import annotations

from dataclasses import dataclass

from aar.sandbox.protocol import SandboxStats


@dataclass(frozen=True, slots=True)
class SandboxRow:
    """A sandbox that exists on this machine.

    Args:
        name, backend, campaign_id: its identity.
        running: False for one that ended and was not removed.
        age_seconds: since it was made.
        stats: its current usage, from the host's accounting; None when it is not running, or the host has none.
            ``workspace_bytes`` is -1 where the workspace is a plain directory.
    """

    name: str
    backend: str
    campaign_id: str
    running: bool
    age_seconds: float
    stats: SandboxStats | None
