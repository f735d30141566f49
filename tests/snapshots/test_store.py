"""The store on disk: refusals, damage, concurrency and limits."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aar.errors import Conflict, DataMissing, NotFound, SetupError, TransferRefused
from aar.snapshots.store import SnapshotStore


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path has a short limit
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "link"),
        (lambda path: path.symlink_to("run.py"), "link"),
        (lambda path: path.symlink_to("/etc", target_is_directory=True), "link"),
        (lambda path: path.symlink_to("nowhere"), "link"),
        (os.mkfifo, "pipe"),
        (_socket, "socket"),
        (lambda path: (path.parent / "a\nb").touch(), "control character"),
        (lambda path: Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff")).touch(), "UTF-8"),
    ],
)
def test_only_plain_files_are_taken(
    store: SnapshotStore, workspace: Path, make: Callable[[Path], object], word: str
) -> None:
    make(workspace / "lib" / "odd")
    with pytest.raises(TransferRefused, match=word):
        store.save(workspace)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_are_refused(store: SnapshotStore, workspace: Path) -> None:
    try:
        os.mknod(workspace / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this container may not make devices")
    with pytest.raises(TransferRefused, match="device"):
        store.save(workspace)


def test_a_linked_or_absent_folder_is_refused(store: SnapshotStore, workspace: Path) -> None:
    (workspace.parent / "link").symlink_to(workspace)
    for folder in (workspace.parent / "link", workspace.parent / "absent", workspace / "run.py"):
        with pytest.raises(TransferRefused):
            store.save(folder)


def test_limits_hold(tmp_path: Path, workspace: Path) -> None:
    for limits, word in (({"max_files": 1}, "1 files"), ({"max_bytes": 3}, "3 bytes")):
        with pytest.raises(TransferRefused, match=word):
            SnapshotStore(tmp_path / "small", **limits).save(workspace)
    for index in range(20):
        (workspace / f"empty{index}").mkdir()
    with pytest.raises(TransferRefused, match="too many"):
        SnapshotStore(tmp_path / "small", max_files=5).save(workspace)
    shutil.rmtree(workspace)
    (workspace / "/".join("d" * 60)).mkdir(parents=True)
    with pytest.raises(TransferRefused, match="levels"):
        SnapshotStore(tmp_path / "small").save(workspace)
    assert list((tmp_path / "small" / "incoming").iterdir()) == []


def test_threads_and_processes_save_the_same_at_once(store: SnapshotStore, workspace: Path, tmp_path: Path) -> None:
    (workspace / "big").write_bytes(os.urandom(300_000))
    program = (
        "import sys; from pathlib import Path; from aar.snapshots.store import SnapshotStore\n"
        "for _ in range(10): print(SnapshotStore(Path(sys.argv[1])).save(Path(sys.argv[2])).digest)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "snapshots"), str(workspace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other, ThreadPoolExecutor(6) as threads:
        digests = {future.result().digest for future in [threads.submit(store.save, workspace) for _ in range(30)]}
        assert other.stdout is not None
        digests |= set(other.stdout.read().split())
    assert len(digests) == 1
    assert store.read_files(digests.pop())["big"] == (workspace / "big").read_bytes()
    assert list((tmp_path / "snapshots" / "incoming").iterdir()) == []


def test_the_same_content_is_kept_once(store: SnapshotStore, workspace: Path, tmp_path: Path) -> None:
    store.save(workspace)
    (workspace / "second.py").write_text("print(1)\n")
    store.save(workspace)
    kept = [path for path in (tmp_path / "snapshots" / "contents").rglob("*") if path.is_file()]
    assert len(kept) == 2


def test_materialised_files_are_the_readers_own(store: SnapshotStore, workspace: Path, tmp_path: Path) -> None:
    digest = store.save(workspace).digest
    target = tmp_path / "out"
    target.mkdir()
    store.materialise(digest, target)
    assert os.access(target / "run.py", os.X_OK)
    assert stat.S_IMODE((target / "lib" / "heads.py").stat().st_mode) == 0o644
    (target / "run.py").write_text("spoilt")
    assert store.read_files(digest)["run.py"] == b"print(1)\n"
    with pytest.raises(Conflict, match="is not empty"):
        store.materialise(digest, target)
    with pytest.raises(Conflict, match="is not empty"):
        store.materialise(digest, target / "run.py")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "snapshots", "workspace"]


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 63, "0" * 64, "Z" * 64, "0" * 64 + "\n"])
def test_unknown_digests(store: SnapshotStore, tmp_path: Path, digest: str) -> None:
    assert not store.exists(digest)
    with pytest.raises(NotFound):
        store.read_files(digest)
    with pytest.raises(NotFound):
        store.materialise(digest, tmp_path / "out")


def test_damage_is_noticed_and_saving_again_mends_loss(store: SnapshotStore, workspace: Path, tmp_path: Path) -> None:
    digest = store.save(workspace).digest
    (content,) = [
        path for path in (tmp_path / "snapshots" / "contents").rglob("*") if path.is_file() and path.stat().st_size
    ]
    content.write_text("print(2)\n")
    with pytest.raises(DataMissing, match=r"run\.py"):
        store.read_files(digest)
    with pytest.raises(DataMissing):
        store.materialise(digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    content.unlink()
    with pytest.raises(DataMissing):
        store.read_files(digest)
    assert store.save(workspace).digest == digest
    assert store.read_files(digest)["run.py"] == b"print(1)\n"
    (tmp_path / "snapshots" / "manifests" / digest).write_text("{}")
    with pytest.raises(DataMissing, match="damaged"):
        store.read_files(digest)


def test_drafts_of_killed_processes_are_swept(store: SnapshotStore, tmp_path: Path) -> None:
    old, young = (tmp_path / "snapshots" / "incoming" / name for name in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    SnapshotStore(tmp_path / "snapshots")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot write snapshots"):
        SnapshotStore(tmp_path / "file" / "snapshots")
