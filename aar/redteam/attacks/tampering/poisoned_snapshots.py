"""Attacks that change another's frozen code, its parent, or the bytes that run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from aar.errors import AarError
from aar.problems.protocol import Stage
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.db_snapshot import changed_rows, snapshot_rows
from aar.redteam.score_arena import ScoreArena

_WRITES = """
import glob, os, sys
import honest
written = []
for top in ("/method", "/lab", "/data"):
    for path in [top + "/planted", *glob.glob(top + "/**/*", recursive=True)][:50]:
        try:
            if not os.path.isdir(path):
                open(path, "ab").close()
                written.append(path)
        except OSError:
            pass
        try:
            os.chmod(path, 0o777)
            written.append(path)
        except OSError:
            pass
if written:
    sys.exit(f"WRITTEN {written[:5]}")
"""


class PoisonedSnapshots:
    """Changes to a snapshot; a snapshot with one changed byte has another name."""

    name = "poisoned-snapshots"
    goal = "change another's frozen code, its lineage or its mounts: links, parents, races, writes at run time"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Attack r2's method; it must read, run and descend as before."""
        through: list[str] = []
        source = arena.method("import honest\n", title="Victim")
        victim = arena.submit(source, researcher=2)
        files, before = arena.snapshots.read_files(victim.digest), snapshot_rows(arena)
        hidden = (await arena.runs.places(Stage.MEASURE, 1))[0].task.hidden
        for what, plant in _planted(source, hidden, arena.folder).items():
            made = arena.method("print('x')\n", title="Carrier")
            plant(made)
            try:
                arena.submit(made)
                through.append(f"{what} was accepted")
            except AarError:
                continue
        for number, parent in enumerate(("s999", "0" * 64, "../..", victim.digest[:3], "s0")):
            made = arena.method(f"# {number}\n", title="Orphan")
            with (made / "method.yaml").open("a") as manifest:
                manifest.write(f"parent: '{parent}'\n")
            try:
                arena.submit(made)
                through.append(f"the parent {parent!r} was accepted")
            except AarError:
                continue
        through += self._copies(arena, victim.digest)
        view = await arena.scored(arena.method(_WRITES, title="Editor"))
        if view.mean is None:
            through.append(f"at run time: {view.verdict[-300:]}")
        if arena.snapshots.read_files(victim.digest) != files:
            through.append("the victim's files changed")
        through += changed_rows({key: row for key, row in before.items() if key[0] == "snapshot"}, snapshot_rows(arena))
        return AttackResult(
            None, "snapshot store: all refused", through=through, said="links, devices, parents, copies, writes"
        )

    def _copies(self, arena: ScoreArena, digest: str) -> list[str]:
        """Change a fetched copy and a hard-linked original after they were saved."""
        copy = arena.folder / "fetched"
        arena.snapshots.materialise(digest, copy)
        linked = arena.method("print('mine')\n", title="Linked")
        os.link(linked / "run.py", arena.folder / "outside.py")
        saved = arena.snapshots.save(linked)
        for path in (copy / "run.py", arena.folder / "outside.py"):
            path.chmod(0o644)
            path.write_text("print('changed afterwards')\n")
        if b"changed" in arena.snapshots.read_files(digest)["run.py"]:
            return ["a fetched copy writes into the store"]
        if b"changed" in arena.snapshots.read_files(saved.digest)["run.py"]:
            return ["a hard link writes into the store"]
        return []


def _planted(source: Path, hidden: Path, folder: Path) -> dict[str, Callable[[Path], object]]:
    secret = next(iter(sorted(hidden.iterdir())), hidden)
    return {
        "a link to hidden labels": lambda made: (made / "data.npz").symlink_to(secret),
        "a link to another's folder": lambda made: (made / "stolen").symlink_to(source),
        "a link as run.py": lambda made: ((made / "run.py").unlink(), (made / "run.py").symlink_to(source / "run.py")),
        "a link as method.yaml": lambda made: (
            (made / "method.yaml").unlink(),
            (made / "method.yaml").symlink_to(folder / "aar.db"),
        ),
        "a pipe": lambda made: os.mkfifo(made / "pipe"),
        "a name with a line break": lambda made: (made / "a\nb").write_text("x"),
        "a name with a backslash": lambda made: (made / "..\\evil").write_text("x"),
    }
