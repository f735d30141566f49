"""The walls of the clean room once more, with Docker's sandboxes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import aar
from aar.problems.protocol import Problem, Task
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.cleanroom.scoring_run import run_with_retries
from aar.scoring.results.verdict_messages import RunFailure

from ..conftest import Desk

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture
def backend(docker_backend: SandboxBackend) -> SandboxBackend:
    return docker_backend


async def test_walls_and_verdicts(problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk) -> None:
    good = "import coinlab, numpy as np\ngiven = coinlab.arguments()\nnp.save(given.out, coinlab.noisy(given))\n"
    attack = (
        "import os\n"
        f"print('hidden', os.path.exists({str(task.hidden)!r}))\n"
        "tops = ('/data', '/workspace', '/method', '/lab', '/tmp', '/run', '/home', '/root', '/var', '/opt', '/mnt')\n"
        "print('found', [name for top in tops for _, _, names in os.walk(top) for name in names if 'flips' in name])\n"
        "refused = 0\n"
        "for path in ('/method/run.py', '/method/x', '/data/noisy.npy', '/data/x', '/lab/coinlab.py', '/lab/x'):\n"
        "    try:\n"
        "        open(path, 'a')\n"
        "    except OSError:\n"
        "        refused += 1\n"
        "print('refused', refused)\n"
        "1/0\n"
    )
    mounts = "print('\\n'.join(line[:90] for line in open('/proc/self/mountinfo') if ' ro' in line))\n1/0"
    memory = "x = [bytes(2**20) * 1 for _ in range(10**6)]"

    async def attempt(code: str) -> Any:
        return await run_with_retries(problem, clean_room, task, desk.snapshots.save(desk.method(code)).digest, 5)

    assert (await attempt(good)).failure is None
    trial = await attempt(attack)
    for line in ("hidden False", "found []", "refused 6"):
        assert line in trial.verdict
    shown = (await attempt(mounts)).verdict
    for part in ("bundles", str(clean_room.work_dir), sys.prefix, str(Path(aar.__file__).parent)):
        assert part not in shown
    assert (await attempt(memory)).failure is RunFailure.OUT_OF_MEMORY
