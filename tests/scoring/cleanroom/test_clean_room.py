"""Methods of every bad kind, in real sandboxes."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import py_compile
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest

import aar
from aar.errors import NotFound
from aar.problems.protocol import Problem, Task
from aar.sandbox.leases import Leases
from aar.scoring.cleanroom.clean_room import CleanRoom, ScoringRunResult
from aar.scoring.cleanroom.scoring_run import run_with_retries
from aar.scoring.results.verdict_messages import RunFailure

from ..conftest import Desk

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

GOOD = "import coinlab, numpy as np\ngiven = coinlab.arguments()\nnp.save(given.out, coinlab.noisy(given))\n"


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


async def attempt(problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, code: str) -> ScoringRunResult:
    digest = desk.snapshots.save(desk.method(code)).digest
    return await run_with_retries(problem, clean_room, task, digest, 5)


async def test_a_good_method_is_scored(problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk) -> None:
    trial = await attempt(problem, clean_room, task, desk, GOOD)
    assert (trial.failure, trial.verdict) == (None, "")
    assert trial.score is not None
    expected = (np.load(task.public / "noisy.npy") == np.load(task.hidden / "flips.npy")).mean()
    assert trial.score.parts["accuracy"] == expected
    assert trial.output_digest is not None
    assert trial.seconds > 0


async def test_the_output_is_what_the_method_wrote(clean_room: CleanRoom, task: Task, desk: Desk) -> None:
    digest = desk.snapshots.save(desk.method("import sys\nopen(sys.argv[-1], 'w').write(sys.argv[4])")).digest
    outcome = await clean_room.run(task, digest, 774)
    assert outcome.output is not None
    assert outcome.output.read_bytes() == b"774"
    assert outcome.output_digest == hashlib.sha256(b"774").hexdigest()
    assert stat.S_IMODE(outcome.output.stat().st_mode) == 0o600
    outcome.discard()


@pytest.mark.parametrize(
    ("code", "failure", "says"),
    [
        ("raise ValueError('too few coins')", RunFailure.CRASHED, "ValueError: too few coins"),
        ("import os; os.kill(os.getpid(), 11)", RunFailure.CRASHED, "signal 11"),
        ("import os; os._exit(3)", RunFailure.CRASHED, "exited with code 3"),
        ("def broken(:", RunFailure.CRASHED, "SyntaxError"),
        ("import torchnado", RunFailure.CRASHED, "No module named 'torchnado'"),
        ("x = [bytes(2**20) * 1 for _ in range(10**6)]", RunFailure.OUT_OF_MEMORY, "may use 0.25 GiB"),
        ("pass", RunFailure.NO_OUTPUT, "wrote no file"),
        ("import sys, os; os.mkdir(sys.argv[-1])", RunFailure.OUTPUT_REFUSED, "expected a regular file"),
        ("import sys; open(sys.argv[-1], 'wb').write(bytes(10**7))", RunFailure.OUTPUT_REFUSED, "at most 0.25 MiB"),
        ("import sys; open(sys.argv[-1], 'w').write('rubbish')", RunFailure.OUTPUT_REJECTED, "not in the format"),
        ("import sys; open(sys.argv[-1], 'w')", RunFailure.OUTPUT_REJECTED, "not in the format"),
        (
            "import sys, numpy as np; np.save(sys.argv[-1], np.zeros(3))",
            RunFailure.OUTPUT_REJECTED,
            "its shape is (3,), it must be (400,)",
        ),
        (
            "import sys, numpy as np; np.save(sys.argv[-1], np.array([{}], dtype=object))",
            RunFailure.OUTPUT_REJECTED,
            "not in the format",
        ),
    ],
)
async def test_each_failure_has_its_verdict(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, code: str, failure: RunFailure, says: str
) -> None:
    trial = await attempt(problem, clean_room, task, desk, code)
    assert trial.score is None
    assert (trial.failure, says in trial.verdict) == (failure, True), trial.verdict
    assert str(clean_room.work_dir) not in trial.verdict


@pytest.mark.parametrize("code", ["while True: pass", "import signal; signal.pause()"])
async def test_a_method_that_hangs_is_stopped(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "run_limits", replace(problem.run_limits, seconds=1.5))
    trial = await attempt(problem, clean_room, task, desk, code)
    assert trial.failure is RunFailure.TIME_LIMIT
    assert "time limit of 1.5 s" in trial.verdict


async def test_nobody_waits_for_a_pipe(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.scoring.cleanroom.clean_room._READ_SECONDS", 1.0)
    trial = await attempt(problem, clean_room, task, desk, "import sys, os; os.mkfifo(sys.argv[-1])")
    assert trial.failure is RunFailure.OUTPUT_REFUSED


async def test_a_link_out_of_the_workspace_shows_nothing_of_the_host(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    code = f"import sys, os; os.symlink({str(task.hidden / 'flips.npy')!r}, sys.argv[-1])"
    trial = await attempt(problem, clean_room, task, desk, code)
    assert trial.failure in (RunFailure.NO_OUTPUT, RunFailure.OUTPUT_REFUSED)


async def test_a_process_that_stays_behind_is_ended(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    marker = f"stay-{os.getpid()}-{os.urandom(4).hex()}"
    code = GOOD + (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        f"        os.execvp('python', ['python', '-c', 'import time; time.sleep(600)', {marker!r}])\n"
    )
    trial = await attempt(problem, clean_room, task, desk, code)
    assert trial.score is not None
    assert not any(marker.encode() in line for line in command_lines())


async def test_the_hidden_bundle_is_nowhere_inside(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    assert stat.S_IMODE(task.hidden.stat().st_mode) == 0o700
    code = (
        "import os\n"
        f"print('direct', os.path.exists({str(task.hidden)!r}), os.path.exists({str(task.public.parent)!r}))\n"
        "tops = ('/data', '/workspace', '/method', '/lab', '/tmp', '/run', '/home', '/root', '/var', '/opt', '/mnt')\n"
        "found = [name for top in tops for _, _, names in os.walk(top) for name in names if 'flips' in name]\n"
        "print('found', found, sorted(os.listdir('/data')), os.path.exists('/data/../hidden'))\n"
        "1/0\n"
    )
    trial = await attempt(problem, clean_room, task, desk, code)
    assert "direct False False" in trial.verdict
    assert "found [] ['noisy.npy'] False" in trial.verdict


async def test_code_and_data_cannot_be_written(problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk) -> None:
    code = (
        "refused = 0\n"
        "for path in ('/method/run.py', '/method/x', '/data/noisy.npy', '/data/x', '/lab/coinlab.py', '/lab/x'):\n"
        "    try:\n"
        "        open(path, 'a')\n"
        "    except OSError:\n"
        "        refused += 1\n"
        "print('refused', refused)\n"
        "1/0\n"
    )
    before = (task.public / "noisy.npy").read_bytes()
    trial = await attempt(problem, clean_room, task, desk, code)
    assert "refused 6" in trial.verdict
    assert (task.public / "noisy.npy").read_bytes() == before


async def test_the_source_runs_and_not_the_byte_code_beside_it(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    directory = desk.method("import helper\nprint('value', helper.VALUE)\n1/0\n")
    helper = directory / "helper.py"
    helper.write_text("VALUE = 'forged'\n")
    cached = Path(importlib.util.cache_from_source(str(helper)))
    py_compile.compile(str(helper), cfile=str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    helper.write_text("VALUE = 'read'\n")
    saved = desk.snapshots.save(directory)
    trial = await run_with_retries(problem, clean_room, task, saved.digest, 1)
    assert "value read" in trial.verdict


async def test_nothing_is_left_for_the_next_run(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    code = (
        "import os\n"
        "places = ('/workspace/seen', '/tmp/seen', '/dev/shm/seen')\n"
        "print('seen', [place for place in places if os.path.exists(place)])\n"
        "for place in places:\n"
        "    try:\n"
        "        open(place, 'w').write('1')\n"
        "    except OSError:\n"
        "        pass\n"
        "1/0\n"
    )
    for _ in range(2):
        trial = await attempt(problem, clean_room, task, desk, code)
        assert "seen []" in trial.verdict


async def test_the_controllers_paths_and_environment_stay_out(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary")
    codes = ["import os\nprint(dict(os.environ))\n1/0\n"]
    codes += [f"print(open('/proc/self/mountinfo').read()[{part}:][:1200])\n1/0\n" for part in range(0, 6000, 1200)]
    for code in codes:
        trial = await attempt(problem, clean_room, task, desk, code)
        assert trial.failure is RunFailure.CRASHED
        for secret in ("canary", "bundles", "/runs/", sys.prefix, str(Path(aar.__file__).parent)):
            assert secret not in trial.verdict


async def test_an_unknown_snapshot_is_not_run(clean_room: CleanRoom, task: Task) -> None:
    with pytest.raises(NotFound):
        await clean_room.run(task, "0" * 64, 1)


async def test_a_cancelled_run_leaves_nothing(clean_room: CleanRoom, task: Task, desk: Desk) -> None:
    digest = desk.snapshots.save(desk.method("import time; time.sleep(600)")).digest
    with anyio.move_on_after(1.0) as scope:
        await clean_room.run(task, digest, 1)
    assert scope.cancelled_caught
    assert not (clean_room.work_dir / "runs").exists() or not list((clean_room.work_dir / "runs").iterdir())


async def test_bundles_are_closed_and_removed(problem: Problem, clean_room: CleanRoom, task: Task) -> None:
    assert stat.S_IMODE(task.public.stat().st_mode) & 0o555 == 0o555
    assert stat.S_IMODE(task.public.parent.stat().st_mode) == 0o711
    assert task.hidden.parent.parent == clean_room.work_dir / "bundles"


async def test_a_leased_run_has_its_core_to_itself(
    clean_room: CleanRoom, task: Task, desk: Desk, tmp_path: Path
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    leases = Leases(cores=cores, gpus=(), scoring_cores=1, lease_file=tmp_path / "leases.json")
    leased = CleanRoom(clean_room.backend, clean_room.problem, desk.snapshots, tmp_path / "leased", leases)
    code = "import os, sys\nopen(sys.argv[-1], 'w').write(repr(sorted(os.sched_getaffinity(0))))"
    digest = desk.snapshots.save(desk.method(code)).digest
    outcome = await leased.run(task, digest, 1)
    assert outcome.output is not None
    assert outcome.output.read_text() == repr(cores[-1:])
    outcome.discard()
    async with leases.lease_for_scoring(owner="next") as lease:
        assert lease.cores == tuple(cores[-1:])
