"""What sandboxes that are made ahead of their run must keep, whichever backend makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from aar.errors import NotFound, SandboxError
from aar.problems.protocol import Problem, Stage, Task
from aar.sandbox.leases import Leases
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom, ScoringRunResult
from aar.scoring.cleanroom.run_sandbox import prepared_bundles
from aar.scoring.cleanroom.scoring_run import run_with_retries
from aar.scoring.results.verdict_messages import RunFailure

from .conftest import Desk
from .warm_kit import Clock, Counting, attempt, ready

GOOD = "import coinlab, numpy as np\ngiven = coinlab.arguments()\nnp.save(given.out, coinlab.noisy(given))\n"
TELL = "import os, sys\nopen(sys.argv[-1], 'w').write(repr({told}))"


class WarmSuite:
    """Subclass it where the fixture ``backend`` is a real one."""

    @pytest.fixture
    def no_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aar.scoring.cleanroom.scoring_run._PAUSE_SECONDS", 0.0)

    @pytest.fixture
    def counting(self, backend: Any) -> Counting:
        return Counting(backend)

    @pytest.fixture
    def room(self, counting: Counting, problem: Problem, clean_room: CleanRoom, desk: Desk) -> Iterator[CleanRoom]:
        yield CleanRoom(counting, problem, desk.snapshots, clean_room.work_dir)
        assert not list(clean_room.work_dir.glob("runs/*"))

    async def test_each_run_gets_one_that_nothing_used(
        self, problem: Problem, room: CleanRoom, counting: Counting, task: Task, desk: Desk
    ) -> None:
        code = (
            "import os\n"
            "places = ('/workspace/seen', '/tmp/seen', '/dev/shm/seen')\n"
            "print('seen', [place for place in places if os.path.exists(place)], sorted(os.listdir('/workspace')))\n"
            "for place in places:\n"
            "    try:\n"
            "        open(place, 'w').write('1')\n"
            "    except OSError:\n"
            "        pass\n"
            "1/0\n"
        )
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            await ready(room, 2)
            for _ in range(4):
                trial = await attempt(problem, room, task, desk, code)
                assert "seen [] []" in trial.verdict
        assert len({sandbox.spec.name for sandbox in counting.made}) == len(counting.made) >= 4

    async def test_a_run_sees_its_own_data_and_code(
        self, problem: Problem, room: CleanRoom, task: Task, desk: Desk
    ) -> None:
        digest = desk.snapshots.save(desk.method(GOOD)).digest
        async with (
            room.warm_sandboxes(DEFAULT_OWNER, 1),
            prepared_bundles(problem, room.work_dir, domain="heads", stage=Stage.MEASURE, split_seed=8) as other,
        ):
            for given in (task, other, task):
                trial = await run_with_retries(problem, room, given, digest, 5)
                assert trial.score is not None
                expected = (np.load(given.public / "noisy.npy") == np.load(given.hidden / "flips.npy")).mean()
                assert trial.score.parts["accuracy"] == expected

    async def test_a_directory_and_a_snapshot_look_alike(self, room: CleanRoom, task: Task, desk: Desk) -> None:
        directory = desk.method(TELL.format(told="sorted(os.listdir('/method') + os.listdir('/method/inner'))"))
        (directory / "inner").mkdir()
        (directory / "inner" / "table.txt").write_text("1")
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            for source in (directory, desk.snapshots.save(directory).digest):
                outcome = await room.run(task, source, 1)
                assert outcome.output is not None, outcome.verdict
                assert outcome.output.read_text() == repr(["inner", "method.yaml", "run.py", "table.txt"])
                outcome.discard()
        assert (directory / "inner" / "table.txt").read_text() == "1"

    async def test_data_and_code_cannot_be_written(
        self, problem: Problem, room: CleanRoom, task: Task, desk: Desk
    ) -> None:
        code = (
            "import os\n"
            "refused = 0\n"
            "for path in ('/method/run.py', '/method/x', '/data/noisy.npy', '/data/x', '/lab/coinlab.py', '/lab/x'):\n"
            "    for act in (lambda: open(path, 'a'), lambda: os.chmod(path, 0o777), lambda: os.unlink(path)):\n"
            "        try:\n"
            "            act()\n"
            "        except OSError:\n"
            "            refused += 1\n"
            "print('refused', refused)\n"
            "1/0\n"
        )
        before = (task.public / "noisy.npy").read_bytes(), (task.public / "noisy.npy").stat().st_mode
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            trial = await attempt(problem, room, task, desk, code)
        assert "refused 18" in trial.verdict
        assert ((task.public / "noisy.npy").read_bytes(), (task.public / "noisy.npy").stat().st_mode) == before

    async def test_the_hidden_bundle_is_nowhere_inside(
        self, problem: Problem, room: CleanRoom, task: Task, desk: Desk
    ) -> None:
        code = (
            "import os\n"
            f"print('direct', os.path.exists({str(task.hidden)!r}), os.path.exists({str(room.work_dir)!r}))\n"
            "tops = ('/data', '/workspace', '/method', '/lab', '/tmp', '/run', '/home', '/root', '/var', '/opt')\n"
            "found = [name for top in tops for _, _, names in os.walk(top) for name in names if 'flips' in name]\n"
            "print('found', found, sorted(os.listdir('/data')), os.path.exists('/data/../hidden'))\n"
            "1/0\n"
        )
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            trial = await attempt(problem, room, task, desk, code)
        assert "direct False False" in trial.verdict
        assert "found [] ['noisy.npy'] False" in trial.verdict

    async def test_trees_that_no_path_reaches_end_nothing(
        self, problem: Problem, room: CleanRoom, task: Task, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aar.scoring.cleanroom.clean_room._CHECK_SECONDS", 0.1)
        nest = (
            GOOD + "import os\nfor names in (['d'] * 1500, ['x' * 250] * 24):\n    os.chdir('/workspace')\n"
            "    for name in names:\n        os.mkdir(name)\n        os.chdir(name)\n"
        )
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            for code in (nest, nest + "1/0", GOOD):
                trial = await attempt(problem, room, task, desk, code)
                assert trial.failure is (RunFailure.CRASHED if code.endswith("1/0") else None)
        assert str(room.work_dir) not in await anyio.Path("/proc/self/mounts").read_text()

    async def test_times_do_not_tell_which_file_was_written_again(
        self, room: CleanRoom, task: Task, desk: Desk
    ) -> None:
        rewritten = task.public / "noisy.npy"
        rewritten.write_bytes(rewritten.read_bytes())
        digest = desk.snapshots.save(desk.method(TELL.format(told="os.stat('/data/noisy.npy').st_mtime"))).digest
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            outcome = await room.run(task, digest, 1)
        assert outcome.output is not None, outcome.verdict
        assert outcome.output.read_text() == "0.0"
        outcome.discard()

    async def test_one_that_died_is_replaced(
        self, problem: Problem, room: CleanRoom, counting: Counting, task: Task, desk: Desk
    ) -> None:
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            await ready(room, 2)
            for sandbox in list(counting.made):
                await sandbox.destroy()
            trial = await attempt(problem, room, task, desk, GOOD)
            assert trial.score is not None
            await ready(room, 2)

    async def test_one_that_is_too_old_is_replaced(
        self, room: CleanRoom, counting: Counting, task: Task, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        monkeypatch.setattr("aar.scoring.cleanroom.run_sandbox.time", clock)
        digest = desk.snapshots.save(desk.method(TELL.format(told="1"))).digest
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            await ready(room, 2)
            aged = list(counting.made)
            clock.now = 10_000.0
            outcome = await room.run(task, digest, 1)
            assert outcome.output is not None
            outcome.discard()
            await ready(room, 2)
            assert len(counting.made) == len(aged) + 3
        for sandbox in aged:
            with pytest.raises(SandboxError):
                await sandbox.exec(["true"], timeout=5)

    async def test_where_none_can_be_made_the_run_says_so(
        self, problem: Problem, room: CleanRoom, counting: Counting, task: Task, desk: Desk, no_pauses: None
    ) -> None:
        counting.failing = True
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            with pytest.raises(SandboxError, match="no room"):
                await attempt(problem, room, task, desk, GOOD)
            counting.failing = False
            assert (await attempt(problem, room, task, desk, GOOD)).score is not None

    async def test_an_unknown_snapshot_is_not_run(self, room: CleanRoom, task: Task) -> None:
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            with pytest.raises(NotFound):
                await room.run(task, "0" * 64, 1)

    async def test_a_method_that_kills_all_in_reach_gets_nothing(
        self, problem: Problem, room: CleanRoom, task: Task, desk: Desk
    ) -> None:
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            trial = await attempt(problem, room, task, desk, "import os; os.kill(-1, 9)")
            assert trial.failure in (RunFailure.CRASHED, RunFailure.SANDBOX_LOST, RunFailure.NO_OUTPUT)
            assert (await attempt(problem, room, task, desk, GOOD)).score is not None

    async def test_many_runs_at_once(self, problem: Problem, room: CleanRoom, task: Task, desk: Desk) -> None:
        scores: list[ScoringRunResult] = []

        async def one() -> None:
            scores.append(await attempt(problem, room, task, desk, GOOD))

        async with room.warm_sandboxes(DEFAULT_OWNER, 2), anyio.create_task_group() as runs:
            for _ in range(8):
                runs.start_soon(one)
        assert len(scores) == 8
        assert all(trial.score is not None for trial in scores)

    @pytest.mark.parametrize("after", [0.0, 0.02, 0.1, 0.5, 1.5])
    async def test_cancelled_at_any_moment_it_leaves_nothing(
        self, room: CleanRoom, counting: Counting, task: Task, desk: Desk, after: float
    ) -> None:
        """The fixtures ``backend`` and ``room`` look for what is left."""
        digest = desk.snapshots.save(desk.method("import time; time.sleep(600)")).digest
        with anyio.move_on_after(after) as scope:
            async with room.warm_sandboxes(DEFAULT_OWNER, 2), anyio.create_task_group() as runs:
                for seed in range(3):
                    runs.start_soon(room.run, task, digest, seed)
        assert scope.cancelled_caught

    async def test_a_cancelled_run_gives_way_to_the_next(
        self, problem: Problem, room: CleanRoom, task: Task, desk: Desk
    ) -> None:
        digest = desk.snapshots.save(desk.method("import time; time.sleep(600)")).digest
        async with room.warm_sandboxes(DEFAULT_OWNER, 1):
            with anyio.move_on_after(0.5) as scope:
                await room.run(task, digest, 1)
            assert scope.cancelled_caught
            assert (await attempt(problem, room, task, desk, GOOD)).score is not None

    async def test_what_a_killed_process_left_ready_is_swept(
        self, problem: Problem, counting: Counting, room: CleanRoom, desk: Desk
    ) -> None:
        pool = room.warm_sandboxes("k3v9qd", 1)
        await pool.__aenter__()
        await ready(room, 2, "k3v9qd")
        assert len(await counting.list("k3v9qd")) == 2
        await room.remove_leftovers("k3v9qd")
        assert not await counting.list("k3v9qd")
        await pool.__aexit__(None, None, None)

    async def test_idle_ones_hold_no_core_and_runs_have_theirs(
        self, room: CleanRoom, task: Task, desk: Desk, tmp_path: Path
    ) -> None:
        cores = sorted(os.sched_getaffinity(0))
        leases = Leases(cores=cores, gpus=(), scoring_cores=1, lease_file=tmp_path / "leases.json")
        leased = CleanRoom(room.backend, room.problem, desk.snapshots, room.work_dir, leases)
        digest = desk.snapshots.save(desk.method(TELL.format(told="sorted(os.sched_getaffinity(0))"))).digest
        async with leased.warm_sandboxes(DEFAULT_OWNER, 1):
            await ready(leased, 2)
            async with leases.lease_for_scoring(owner="another") as lease:
                assert lease.cores == tuple(cores[-1:])
            for _ in range(2):
                outcome = await leased.run(task, digest, 1)
                assert outcome.output is not None, outcome.verdict
                assert outcome.output.read_text() == repr(cores[-1:])
                outcome.discard()
