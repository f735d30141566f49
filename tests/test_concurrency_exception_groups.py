"""The one error that comes out of a task group."""

from __future__ import annotations

import errno

import anyio
import pytest

from aar.concurrency import unwrap_exception_group
from aar.errors import SetupError, find_disk_full, is_transient

pytestmark = pytest.mark.anyio


async def _no_room() -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise SetupError("cannot write snapshots") from error


async def _side_by_side() -> None:
    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            group.start_soon(_no_room)
            group.start_soon(anyio.sleep, 60)


async def test_an_error_keeps_what_it_came_of() -> None:
    with pytest.raises(SetupError) as met:
        await _side_by_side()
    assert find_disk_full(met.value) is not None
    assert is_transient(met.value)
