"""A store and a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.snapshots.store import SnapshotStore


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A method: ``run.py`` (executable) and ``lib/heads.py``."""
    folder = tmp_path / "workspace"
    (folder / "lib").mkdir(parents=True)
    (folder / "run.py").write_text("print(1)\n")
    (folder / "run.py").chmod(0o755)
    (folder / "lib" / "heads.py").write_text("")
    return folder
