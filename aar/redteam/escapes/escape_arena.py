"""Attempts to break out of a sandbox, and their arena: an attacker, a neighbour, a secret on the host.

Neither sandbox was given the secret. An attempt is a script that runs inside and prints a mark if it got through. Words
between @ signs are filled in by the arena: the place and the text of the secret, the neighbour's workspace, a port of
the host that listens.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aar.errors import SandboxGone
from aar.sandbox.protocol import Mount, Sandbox, SandboxBackend, SandboxSpec


@dataclass(frozen=True, slots=True)
class Escape:
    """One attempt.

    Args:
        name: short, for tables and test ids.
        goal: its aim, in one clause.
        script: Python that runs inside; prints ``GOT THROUGH ...`` on success.
        seconds: its time limit; a script that reaches it has failed.
    """

    name: str
    goal: str
    script: str
    seconds: float = 60.0


_ROOM = 24 * 1024**2
CANARY_FILE = "hidden-labels-canary.npz"


@dataclass(slots=True)
class EscapeArena:
    """An attacker, a neighbour, and a secret on the host that neither was given."""

    backend: SandboxBackend
    folder: Path
    secret: str = field(default_factory=lambda: f"canary-{uuid.uuid4().hex}")
    port: int = 0
    _box: Sandbox | None = None

    async def attacker(self) -> Sandbox:
        """Return the attacker's sandbox; a new one if the last is gone."""
        try:
            if self._box is not None and (await self._box.exec(["true"], timeout=20)).ok:
                return self._box
        except SandboxGone:
            self._box = None
        spec = self._spec("attacker")
        await self.backend.remove(spec.name)
        self._box = await self.backend.create(spec)
        return self._box

    def _spec(self, who: str) -> SandboxSpec:
        return SandboxSpec(
            name=f"{self.folder.name}-{who}"[-60:].lower().replace("_", "-").lstrip("-"),
            campaign_id=self.campaign,
            workspace=self.folder / who,
            mounts=[Mount(self.folder / "forum", "/forum")],
            memory_bytes=192 * 1024**2,
            max_processes=64,
            workspace_bytes=_ROOM,
            cpus=2.0,
        )

    @property
    def campaign(self) -> str:
        """Return the label of both sandboxes."""
        return f"arena-{self.secret[-8:]}"

    async def neighbour(self) -> Sandbox:
        """Return the neighbour's sandbox, with a secret of its own in its workspace."""
        box = await self.backend.create(self._spec("neighbour"))
        await box.write("secret.txt", self.secret.encode())
        return box

    def filled(self, script: str) -> str:
        """Return a script with the arena's own values filled in."""
        values = {
            "SECRET_NAME": CANARY_FILE,
            "SECRET_TEXT": self.secret,
            "SECRET_PATH": str(self.folder / "hidden" / CANARY_FILE),
            "OTHER_WORKSPACE": str(self.folder / "neighbour"),
            "PORT": str(self.port),
            "HOST_ADDRESS": "127.0.0.2",
            "ROOM": str(_ROOM),
        }
        for name, value in values.items():
            script = script.replace(f"@{name}@", value)
        return script


@asynccontextmanager
async def open_escape_arena(backend: SandboxBackend, folder: Path) -> AsyncIterator[tuple[EscapeArena, Sandbox]]:
    """Open an arena with its neighbour; it leaves nothing behind.

    Args:
        backend: under attack.
        folder: an empty host directory for workspaces and secrets.
    """
    place = EscapeArena(backend, folder)
    hidden = folder / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / CANARY_FILE).write_text(place.secret)
    (folder / "forum" / "r2").mkdir(parents=True)
    (folder / "forum" / "r2" / "post.md").write_text("by r2")
    former = os.environ.get("AAR_CANARY")
    os.environ["AAR_CANARY"] = place.secret
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    place.port = server.sockets[0].getsockname()[1]
    try:
        yield place, await place.neighbour()
    finally:
        server.close()
        for row in await backend.list(place.campaign):
            await backend.remove(row.name)
        if former is None:
            del os.environ["AAR_CANARY"]
        else:
            os.environ["AAR_CANARY"] = former
