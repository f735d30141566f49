"""Ending a room never ends a scorer: what cannot be removed is told, kept whole while it may still run, and swept."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from aar.errors import SandboxUnavailable
from aar.problems.protocol import Problem
from aar.sandbox import workspaces
from aar.sandbox.incidents import Incident, IncidentKind
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.audits.protocol import AuditInput, AuditResult
from aar.scoring.cleanroom import run_sandbox
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom
from aar.scoring.cleanroom.run_sandbox import RunSandboxFactory

from ..audits_for_tests import WordAudit
from ..conftest import COPY, Desk, Serving

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


@pytest.mark.parametrize(
    "error", [SandboxUnavailable("the engine does not answer"), RecursionError(), OSError(24, "x")]
)
async def test_what_cannot_be_ended_is_told_and_swept_later(
    backend: SandboxBackend,
    problem: Problem,
    clean_room: CleanRoom,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    told: list[Incident] = []
    rooms = RunSandboxFactory(backend, problem, clean_room.work_dir, told.append)
    room = await rooms.create_sandbox(DEFAULT_OWNER)
    mounted = run_sandbox.workspace_folder(room.folder).is_mount()

    async def fails() -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(room.sandbox, "destroy", fails)
        await rooms.destroy_sandbox(room)
    assert [(each.sandbox, each.campaign_id, each.kind) for each in told] == [
        (room.name, DEFAULT_OWNER, IncidentKind.LEFT_BEHIND)
    ]
    # It may still run: nothing was taken from under it.
    assert run_sandbox.workspace_folder(room.folder).is_mount() == mounted
    assert (await room.sandbox.exec("echo x > still; cat still", timeout=20)).output == "x\n"
    await room.sandbox.detach()  # type: ignore[attr-defined] - as its controller's end would
    await clean_room.remove_leftovers(DEFAULT_OWNER)
    assert not list(clean_room.work_dir.iterdir())


@pytest.mark.skipif(not workspaces.can_mount(), reason="a workspace in use needs a mount, and root")
async def test_a_sweep_goes_past_what_is_still_in_use(clean_room: CleanRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces, "_RELEASE_SECONDS", 0.2)
    runs = clean_room.work_dir / "runs"
    for name in ("k-run-1", "k-run-2", "k-run-3"):
        workspaces.prepare(run_sandbox.workspace_folder(runs / name), 8 << 20, 12345)
    (clean_room.work_dir / "outputs").mkdir()
    with (run_sandbox.workspace_folder(runs / "k-run-1") / "held").open("w"):
        left = run_sandbox.remove_leftover_runs(clean_room.work_dir)
        assert list(left) == ["k-run-1"]
        assert _names(clean_room.work_dir) == ["runs"]
        assert _names(runs) == ["k-run-1"]
        assert _names(runs / "k-run-1") == [".workspace.ext4", "workspace"]
    assert run_sandbox.remove_leftover_runs(clean_room.work_dir) == {}
    assert _names(clean_room.work_dir) == []
    assert str(clean_room.work_dir) not in await anyio.Path("/proc/self/mounts").read_text()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class _Mounts(WordAudit):
    """An audit after which something is mounted in the folder where it read."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        self.place = dossier.code / "busy"
        self.place.mkdir()
        await anyio.run_process(["mount", "-t", "tmpfs", "aar-test", str(self.place)])
        return await super().judge(dossier)


@pytest.mark.skipif(not workspaces.can_mount(), reason="mounting needs root")
async def test_an_audit_s_folder_that_cannot_be_removed_takes_no_finding_and_no_score(
    desk: Desk, serving: Serving, clean_room: CleanRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Incident] = []
    monkeypatch.setattr(clean_room, "on_incident", told.append)
    audit = _Mounts()
    submitted = desk.submit(desk.method(COPY))
    try:
        async with serving(audits=[audit]) as (scorer, _):
            view = await scorer.wait_for(submitted.number, 60)
    finally:
        await anyio.run_process(["umount", str(audit.place)])
    assert (view.state, audit.asked) == ("measured", [submitted.number])
    assert [each.kind for each in told] == [IncidentKind.LEFT_BEHIND]
    assert run_sandbox.remove_leftover_runs(clean_room.work_dir) == {}
    assert _names(clean_room.work_dir) == []
