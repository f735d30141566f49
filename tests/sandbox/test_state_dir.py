"""Each sandbox is a user of its own on the host, on either backend, as far as this process may choose."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.sandbox.protocol import SandboxBackend, SandboxSpec
from aar.sandbox.state_dir import FIRST_UID, LAST_UID

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root gives each sandbox a user of its own")


def test_no_two_sandboxes_share_a_user_and_a_new_one_owns_its_old_files(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path
) -> None:
    async def whole() -> list[int]:
        backend = each_backend()
        specs = [SandboxSpec(n, "c", tmp_path / n, memory_bytes=1 << 27, workspace_bytes=1 << 24) for n in ("a", "b")]
        found = []
        try:
            boxes = [await backend.create(spec) for spec in specs]
            for box in boxes:
                result = await box.exec("id -u; grep ^Uid /proc/self/status; echo mine > kept", timeout=20)
                inside, status, *_ = result.output.splitlines()
                assert set(status.split()[1:]) == {inside}
                assert (tmp_path / box.spec.name / "kept").stat().st_uid == int(inside)
                found.append(int(inside))
            await boxes[0].destroy()
            await boxes[1].destroy()
            other = await backend.create(specs[1])  # takes the first free uid, which is rarely its former one
            result = await other.exec("echo more >> kept && cat kept", timeout=20)
            assert result.output == "mine\nmore\n"
        finally:
            for spec in specs:
                await backend.remove(spec.name)
            await backend.close()
        return found

    first, second = asyncio.run(whole())
    assert first != second
    assert all(FIRST_UID <= uid <= LAST_UID for uid in (first, second))
