"""A workspace keeps what was written in it, byte by byte, whenever its keeper is killed; and nothing else is left."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aar.errors import SandboxError, StillInUse, find_disk_full, is_transient
from aar.sandbox import workspaces

from ..test_fsutil import nest
from .workspace_until_killed import OWNER, SIZE

pytestmark = pytest.mark.skipif(not workspaces.can_mount(), reason="mounting an ext4 file needs root")

_SCRIPT = Path(__file__).with_name("workspace_until_killed.py")
_PARTS = ("notes.part", "number.part")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A workspace with content of every kind; what is mounted below is unmounted whatever happens."""
    made = tmp_path / "place" / "r1"
    (made / "lab" / "deep" / "er").mkdir(parents=True)
    (made / "number").write_text("0")
    (made / "notes").write_bytes(b"0 " * 5000)
    (made / "lab" / "data").write_bytes(random.Random(1).randbytes(300_000))
    (made / "lab" / "deep" / "er" / "link").symlink_to("/nowhere")
    (made / "lab" / "name with spaces\n").write_text("x")
    with (made / "hole").open("wb") as file:
        file.truncate(4 << 20)
    yield made
    for line in mounts(tmp_path):
        subprocess.run(["umount", line.split()[1]], check=False)


def mounts(folder: Path) -> list[str]:
    """Lines of the mount table below a folder."""
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]


def loops(folder: Path) -> str:
    """Loop devices whose file lies below a folder."""
    listed = subprocess.run(["losetup", "-n", "-O", "NAME,BACK-FILE"], capture_output=True, text=True, check=True)
    return "".join(line for line in listed.stdout.splitlines() if str(folder) in line)


def content(workspace: Path) -> dict[str, str]:
    """What a workspace holds, without what its writer was about to write."""
    found = {}
    for path in sorted(workspace.rglob("*")):
        if path.is_symlink():
            value = f"-> {path.readlink()}"
        elif path.is_dir():
            value = "folder"
        else:
            value = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name not in _PARTS:
            found[str(path.relative_to(workspace))] = value
    return found


def expected(before: dict[str, str], number: int) -> dict[str, str]:
    """The content once ``number`` was written."""
    texts = {"number": str(number).encode(), "notes": f"{number} ".encode() * 5000}
    return before | {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}


def live(workspace: Path, marker: Path, step: int = 0) -> subprocess.Popen[bytes]:
    """Start one life of the workspace."""
    return subprocess.Popen([sys.executable, str(_SCRIPT), str(workspace), str(marker), str(step)])


def check_whole(workspace: Path, marker: Path, before: dict[str, str]) -> None:
    """Whatever was written last is there once the workspace is released, and nothing beside it."""
    written = int(marker.read_text()) if marker.exists() else 0
    workspaces.release(workspace)
    found = content(workspace)
    # The last number may have been written right before the marker told of it.
    assert found in (expected(before, written), expected(before, written + 1), _between(before, written))
    assert os.listdir(workspace.parent) == [workspace.name]  # noqa: PTH208 - names, the hidden ones too
    assert mounts(workspace.parent) == []
    assert loops(workspace.parent) == ""


def _between(before: dict[str, str], written: int) -> dict[str, str]:
    return expected(before, written) | {"notes": expected(before, written + 1)["notes"]}


def test_a_kill_before_any_step_loses_nothing(workspace: Path) -> None:
    before, marker = content(workspace), workspace.parent.parent / "marker"
    step = 0
    while True:
        step += 1
        with live(workspace, marker, step) as keeper:
            code = keeper.wait()
        if step % 2:
            # Whoever goes on may begin with another sandbox at once ...
            workspaces.prepare(workspace, SIZE, OWNER + step)
            assert (workspace / "number").stat().st_uid == OWNER + step
        check_whole(workspace, marker, before)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 20


def test_kills_at_random_moments_and_in_what_mends_them_lose_nothing(workspace: Path) -> None:
    before, marker = content(workspace), workspace.parent.parent / "marker"
    rng = random.Random(11)
    for _ in range(6):
        for _ in range(rng.randint(1, 3)):
            with live(workspace, marker) as keeper:
                time.sleep(rng.uniform(0.1, 0.6))
                keeper.kill()
        check_whole(workspace, marker, before)


def test_an_image_without_a_mount_is_taken_up(workspace: Path) -> None:
    """As after the machine was stopped: the mount is gone, the image holds the only copy."""
    workspaces.prepare(workspace, SIZE, OWNER)
    (workspace / "notes").write_text("new")
    subprocess.run(["umount", str(workspace)], check=True)
    assert workspaces.prepare(workspace, 2 * SIZE, OWNER)
    assert (workspace / "notes").read_text() == "new"
    workspaces.release(workspace)
    assert (workspace / "notes").read_text() == "new"


def test_an_image_is_not_removed_while_it_is_mounted(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "_RELEASE_SECONDS", 0.3)
    workspaces.prepare(workspace, SIZE, OWNER)
    with (workspace / "notes").open("rb"):
        for end in (workspaces.release, workspaces.discard):
            with pytest.raises(SandboxError, match="umount"):
                end(workspace)
            assert (workspace / "notes").exists()
            assert (workspace.parent / ".r1.ext4").exists()
    # Mounted at another place too, it is unmounted there.
    other = tmp_path / "other place"
    other.mkdir()
    device = loops(workspace.parent).split()[0]
    subprocess.run(["mount", device, str(other)], check=True)
    workspaces.release(workspace)
    assert not other.is_mount()
    assert loops(workspace.parent) == ""


def test_a_workspace_with_trees_that_no_path_reaches_is_kept_without_them(workspace: Path) -> None:
    before = content(workspace)
    workspaces.prepare(workspace, 4 * SIZE, OWNER)
    nest(workspace / "deep", ["d"] * 1500)
    nest(workspace / "long", ["x" * 250] * 24)
    assert workspaces.release(workspace) == 2
    kept = content(workspace)
    assert {name: value for name, value in kept.items() if name.split("/")[0] not in ("deep", "long")} == before
    assert workspaces.prepare(workspace, 4 * SIZE, OWNER)
    assert workspaces.release(workspace) == 0
    assert content(workspace) == kept


def test_a_plain_folder_with_such_trees_is_prepared(workspace: Path) -> None:
    nest(workspace / "long", ["x" * 250] * 24)
    assert workspaces.prepare(workspace, 4 * SIZE, OWNER)
    assert (workspace / "number").read_text() == "0"
    workspaces.release(workspace)


def test_a_discarded_workspace_leaves_nothing(workspace: Path) -> None:
    workspaces.prepare(workspace, 4 * SIZE, OWNER)
    nest(workspace / "deep", ["d"] * 1500)
    workspaces.discard(workspace)
    workspaces.discard(workspace)
    assert list(workspace.parent.iterdir()) == []
    assert mounts(workspace.parent) == []
    assert loops(workspace.parent) == ""


@pytest.mark.parametrize("end", [workspaces.release, workspaces.discard])
def test_a_copy_of_the_mount_in_another_namespace_keeps_nobody(workspace: Path, end: Callable[[Path], object]) -> None:
    """As a sandbox or a service that starts just then takes one, and holds the loop device for a while."""
    before = content(workspace)
    workspaces.prepare(workspace, SIZE, OWNER)
    script = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        end(workspace)
        left = [path.name for path in workspace.parent.iterdir()]
        assert mounts(workspace.parent) == []
        assert loops(workspace.parent) == ""
        if end is workspaces.release:
            assert content(workspace) == before
        holder.stdin.close()
    assert left == (["r1"] if end is workspaces.release else [])


def test_an_image_that_is_the_only_copy_is_not_mounted_twice(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces, "_RELEASE_SECONDS", 0.2)
    workspaces.prepare(workspace, SIZE, OWNER)
    script = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        subprocess.run(["umount", str(workspace)], check=True)
        with pytest.raises(SandboxError, match="still in use"):
            workspaces.release(workspace)
        assert (workspace.parent / ".r1.ext4").exists()
        holder.stdin.close()
    monkeypatch.setattr(workspaces, "_RELEASE_SECONDS", 20.0)
    workspaces.release(workspace)
    assert (workspace / "number").read_text() == "0"


def test_who_holds_a_workspace_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces, "_RELEASE_SECONDS", 0.2)
    unwanted = tmp_path / "run"
    workspaces.prepare(unwanted, SIZE, OWNER)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    steps = 'mount --bind "$1" "$2" && echo ready && exec sleep 600'
    command = ["unshare", "--mount", "sh", "-c", steps, "hold", str(unwanted), str(elsewhere)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(StillInUse, match=rf"held by sleep \(pid {holder.pid}\)"):
            workspaces.discard(unwanted)
        holder.kill()
    workspaces.discard(unwanted)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert not loops(tmp_path)


def test_a_command_that_hangs_is_ended_and_named(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="sleep took longer than 0 s"):
        workspaces._run("sleep", "600", seconds=0.2)


def test_a_command_that_meets_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "some").write_text("words")
    with pytest.raises(SandboxError, match="cp failed") as caught:
        workspaces._run("cp", str(tmp_path / "some"), "/dev/full")
    assert find_disk_full(caught.value) is not None
    assert is_transient(caught.value)
    with pytest.raises(SandboxError, match="cp failed") as caught:
        workspaces._run("cp", str(tmp_path / "absent"), "/dev/full")
    assert find_disk_full(caught.value) is None
