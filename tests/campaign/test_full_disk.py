"""A disk that is full is named as the cause, wherever that is met; on a real file system that has no room."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.campaign.controller.service_restarts import FaultBuffer
from aar.errors import AarError, DatabaseError, SandboxError, find_disk_full, is_disk_full, is_transient
from aar.redteam.campaign_rows import add_campaign
from aar.sandbox.leases import Leases
from aar.scoring.cleanroom.run_sandbox import store_output
from aar.settings import Settings
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.models import Campaign

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
_ROOM = 2 * 1024**2


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "aar-test", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(b"0" * 4096 for _ in range(_ROOM // 4096 + 1))


def _says_full(error: BaseException) -> str:
    full = find_disk_full(error)
    assert full is not None
    assert "Free some space" in full.remedy
    assert "aar resume" in full.remedy
    assert is_transient(error)  # a controller waits for room before it gives up
    return full.message


def test_files_and_snapshots(small: Path, tmp_path: Path) -> None:
    method = tmp_path / "method"
    method.mkdir()
    (method / "run.py").write_bytes(b"0" * 100_000)
    store = SnapshotStore(small / "snapshots")
    _fill(small)
    with pytest.raises(OSError, match="No space left") as met:
        store_output(b"0" * 100_000, small)
    _says_full(met.value)
    with pytest.raises(AarError) as frozen:
        store.save(method)
    _says_full(frozen.value)
    assert find_disk_full(SandboxError("another thing")) is None


def test_whether_a_disk_is_full(small: Path) -> None:
    assert not is_disk_full(small)
    _fill(small)
    assert is_disk_full(small)


def test_a_database_in_a_file(small: Path) -> None:
    database = open_database(Settings(home=small).database_url)
    try:
        with database.writing() as session:
            add_campaign(session, "k3v9qd", 1)
        _fill(small)

        def grow() -> None:
            for number in range(200):
                with database.writing() as session:
                    session.get_one(Campaign, "k3v9qd").cause = f"{number}" * 20_000

        with pytest.raises(DatabaseError) as met:
            grow()
        assert _says_full(met.value).startswith("disk full: cannot write to")
        (small / "filler").unlink()
        with database.writing() as session:  # it goes on once there is room
            session.get_one(Campaign, "k3v9qd").cause = "room"
    finally:
        database.close()


def test_the_log_of_faults_names_it(small: Path) -> None:
    _fill(small)
    faults = FaultBuffer()
    with pytest.raises(OSError, match="No space left") as met:
        (small / "more").write_bytes(b"0" * 10_000)
    faults.add_fault("scorer", met.value, "tried again")
    assert "the disk is full" in faults.drain()[0].summary()


def test_a_lease_that_cannot_be_given_back_changes_nothing_and_is_given_back_later(small: Path) -> None:
    leases = Leases(cores=(0, 1, 2, 3), gpus=(), scoring_cores=1, lease_file=small / "leases.json")

    async def scene() -> str:
        async with leases.lease_for_scoring(owner="s1"):
            _fill(small)
            result = "scored"
        (small / "filler").unlink()
        async with asyncio.timeout(20), leases.lease_for_scoring(owner="s2") as lease:
            assert lease.cores == (3,)
        return result

    assert asyncio.run(scene()) == "scored"
