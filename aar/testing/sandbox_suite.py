"""Conformance suite of the ``SandboxBackend`` contract, for every backend, yours included.

Subclass it and override the ``make_backend`` fixture::

    class TestMine(SandboxSuite):
        @pytest.fixture
        def make_backend(self): return MyBackend

Tests are plain functions that run their own event loop, so that no plug-in for asyncio is needed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from aar.errors import Conflict, NotFound, SandboxGone, TransferRefused
from aar.sandbox.protocol import ExitReason, Mount, Sandbox, SandboxBackend, SandboxSpec

MEMORY = 256 * 1024**2
PROCESSES = 64
WORKSPACE_BYTES = 32 * 1024**2
Scenario = Callable[[SandboxBackend, Sandbox], Awaitable[None]]
Run = Callable[[Scenario], None]
"""Runs a scenario with a fresh sandbox and sees that nothing is left afterwards."""


class SandboxSuite:
    """Every promise of ``aar.sandbox.protocol``, as tests."""

    @pytest.fixture
    def make_backend(self) -> Callable[[], SandboxBackend]:
        """Give a function that makes the backend under test; called inside the test's event loop."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def spec(self, tmp_path: Path) -> SandboxSpec:
        """What the sandbox under test is made from."""
        return SandboxSpec(
            name=f"suite-{uuid.uuid4().hex[:10]}",
            campaign_id=f"suite-{uuid.uuid4().hex[:6]}",
            workspace=tmp_path / "workspace",
            memory_bytes=MEMORY,
            max_processes=PROCESSES,
            workspace_bytes=WORKSPACE_BYTES,
            cpus=2.0,
        )

    @pytest.fixture
    def run(self, make_backend: Callable[[], SandboxBackend], spec: SandboxSpec) -> Run:
        """``run(scenario)``: a fresh sandbox, the scenario, and nothing left afterwards."""

        async def whole(scenario: Scenario) -> None:
            backend = make_backend()
            try:
                sandbox = await backend.create(spec)
                await scenario(backend, sandbox)
            finally:
                await backend.remove(spec.name)
                left = await backend.orphans(spec.campaign_id)
                await backend.close()
            assert list(left) == []

        return lambda scenario: asyncio.run(whole(scenario))

    def test_a_command_gives_its_output_and_code(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec("echo out; echo err >&2; exit 3", timeout=20)
            assert (result.reason, result.code, result.output) == (ExitReason.EXITED, 3, "out\nerr\n")
            assert not result.ok
            assert (await box.exec(["printf", "%s", "a  b"], timeout=20)).output == "a  b"

        run(scenario)

    def test_a_command_that_is_not_there_is_no_error(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec(["no-such-program"], timeout=20)
            assert (result.reason, result.code) == (ExitReason.EXITED, 127)
            result = await box.exec("true", timeout=20, cwd="/no/such/place")
            assert (result.reason, result.ok) == (ExitReason.EXITED, False)

        run(scenario)

    def test_input_directory_and_environment(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec("cat; pwd; echo $X", timeout=20, cwd="/tmp", env={"X": "y"}, stdin=b"in\n")  # noqa: S108
            assert result.output == "in\n/tmp\ny\n"
            assert (await box.exec("pwd", timeout=20)).output == "/workspace\n"

        run(scenario)

    def test_a_very_long_command_runs(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec(f"# {'x' * 300_000}\necho done", timeout=20)
            assert result.output == "done\n"

        run(scenario)

    def test_a_signal_is_told_from_an_exit_code(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec("kill -TERM $$", timeout=20)
            assert (result.reason, result.code) == (ExitReason.SIGNALLED, 143)
            result = await box.exec("kill -KILL $$", timeout=20)
            assert (result.reason, result.code) == (ExitReason.SIGNALLED, 137)

        run(scenario)

    def test_output_keeps_its_ends_and_counts_what_is_dropped(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec("echo first; yes | head -c 5000000; echo last", timeout=30, output_limit=1000)
            assert result.output.startswith("first\n")
            assert result.output.endswith("last\n")
            assert len(result.output) == 1000
            assert result.dropped_bytes == 6 + 5_000_000 + 5 - 1000

        run(scenario)

    def test_the_time_limit_kills_the_whole_tree(self, run: Run) -> None:
        stubborn = (
            "trap '' TERM HUP INT; (setsid sh -c \"trap '' TERM; (sleep 300 &) ; sleep 301\" &); "
            "nohup setsid sleep 302 >/dev/null 2>&1 & sleep 303"
        )

        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec(stubborn, timeout=1)
            assert result.reason is ExitReason.TIME_LIMIT
            assert await living_sleeps(box) == 0

        run(scenario)

    def test_what_a_command_leaves_behind_dies_with_it(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec("setsid nohup sleep 300 >/dev/null 2>&1 & echo started", timeout=20)
            assert (result.output, result.ok) == ("started\n", True)
            assert await living_sleeps(box) == 0

        run(scenario)

    def test_running_out_of_memory_is_told_apart(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            notes = (await backend.check()).notes
            result = await box.exec(["python3", "-c", "x = bytearray(1 << 30)"], timeout=60)
            if any("memory" in note for note in notes):
                assert "MemoryError" in result.output or result.reason is ExitReason.OUT_OF_MEMORY
            else:
                assert result.reason is ExitReason.OUT_OF_MEMORY
            assert (await box.exec("echo alive", timeout=20)).output == "alive\n"

        run(scenario)

    def test_many_commands_at_once(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            results = await asyncio.gather(*(box.exec(f"echo {i}", timeout=60) for i in range(20)))
            assert [r.output for r in results] == [f"{i}\n" for i in range(20)]

        run(scenario)

    def test_cancelling_ends_the_command(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            task = asyncio.create_task(box.exec("sleep 300", timeout=400))
            await asyncio.sleep(0.3)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for _ in range(100):
                if await living_sleeps(box) == 0:
                    break
                await asyncio.sleep(0.05)
            assert await living_sleeps(box) == 0

        run(scenario)

    def test_files_both_ways(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            data = bytes(range(256)) * 40_000
            await box.write("deep/er/file.bin", data)
            assert await box.read("/workspace/deep/er/file.bin") == data
            with pytest.raises(FileNotFoundError):
                await box.read("absent")
            with pytest.raises(IsADirectoryError):
                await box.read("deep")
            with pytest.raises(IsADirectoryError):
                await box.write("deep", b"")
            with pytest.raises(PermissionError):
                await box.write("/usr/bin/new", b"")
            with pytest.raises(TransferRefused):
                await box.read("deep/er/file.bin", limit=1000)

        run(scenario)

    def test_directories_both_ways(self, run: Run, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "a" / "empty").mkdir(parents=True)
        (source / "a" / "text").write_text("hello")
        (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
        (source / "run.sh").chmod(0o755)

        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            await box.put(source, "method")
            assert (await box.exec("method/run.sh; ls method/a", timeout=20)).output == "ran\nempty\ntext\n"
            await box.get("method", tmp_path / "back")
            assert (tmp_path / "back" / "a" / "text").read_text() == "hello"
            assert (tmp_path / "back" / "a" / "empty").is_dir()

        run(scenario)

    @pytest.mark.parametrize("made", ["ln -s /etc/passwd d/link", "mkfifo d/pipe", "ln -s / d/root"])
    def test_links_and_special_files_do_not_come_out(self, run: Run, tmp_path: Path, made: str) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            await box.exec(f"mkdir d; echo x > d/fine; {made}", timeout=20)
            with pytest.raises(TransferRefused):
                await box.get("d", tmp_path / "out")
            assert not (tmp_path / "out").exists()

        run(scenario)

    def test_too_much_does_not_come_out(self, run: Run, tmp_path: Path) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            await box.exec("mkdir many big; for i in $(seq 50); do > many/$i; done; truncate -s 20M big/x", timeout=20)
            with pytest.raises(TransferRefused):
                await box.get("many", tmp_path / "out", max_files=20)
            with pytest.raises(TransferRefused):
                await box.get("big", tmp_path / "out", limit=1 << 20)

        run(scenario)

    def test_a_job_runs_while_other_things_happen(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            job = await box.start_job("echo begin; until [ -e go ]; do sleep 0.05; done; echo end; exit 4", timeout=60)
            assert job.running
            assert (await box.wait_job(job.job_id, timeout=0.1)).running
            await box.write("go", b"")
            done = await box.wait_job(job.job_id, timeout=30)
            assert done.result is not None
            assert (done.running, done.result.code, done.result.reason) == (False, 4, ExitReason.EXITED)
            assert await box.job_output(job.job_id) == "begin\nend\n"
            assert [j.job_id for j in await box.jobs()] == [job.job_id]
            with pytest.raises(NotFound):
                await box.wait_job("j999", timeout=1)

        run(scenario)

    def test_stopping_a_job_kills_its_whole_tree(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            job = await box.start_job("trap '' TERM; setsid sleep 300 & (setsid sleep 301 &); sleep 302", timeout=600)
            while await living_sleeps(box) < 3:  # noqa: ASYNC110 - what is awaited happens in the sandbox
                await asyncio.sleep(0.02)
            done = await box.stop_job(job.job_id)
            assert done.result is not None
            assert done.result.reason is ExitReason.STOPPED
            assert await living_sleeps(box) == 0

        run(scenario)

    def test_a_job_ends_at_its_time_limit(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            job = await box.start_job("sleep 300", timeout=0.5)
            done = await box.wait_job(job.job_id, timeout=30)
            assert done.result is not None
            assert done.result.reason is ExitReason.TIME_LIMIT

        run(scenario)

    def test_job_output_is_bounded_and_says_so(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            job = await box.start_job("echo first; yes | head -c 30000000; echo last", timeout=60)
            await box.wait_job(job.job_id, timeout=60)
            text = await box.job_output(job.job_id, limit=2000)
            assert text.startswith("first\n")
            assert text.endswith("last\n")
            assert "bytes dropped" in text
            assert len(text) < 2100
            saved = await box.exec(f"wc -c < .jobs/{job.job_id}.log", timeout=20)
            assert 1_000_000 < int(saved.output) < 3_000_000

        run(scenario)

    def test_a_new_controller_takes_it_up_with_its_jobs(
        self, run: Run, make_backend: Callable[[], SandboxBackend]
    ) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            job = await box.start_job("echo one; while [ ! -e go ]; do sleep 0.05; done; echo two", timeout=60)
            await backend.close()
            second = make_backend()
            again = await second.attach(box.spec)
            await again.write("go", b"")
            assert (await again.wait_job(job.job_id, timeout=30)).running is False
            assert await again.job_output(job.job_id) == "one\ntwo\n"
            await second.close()

        run(scenario)

    def test_gone_is_not_failed(self, run: Run, make_backend: Callable[[], SandboxBackend]) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            waiting = asyncio.create_task(box.exec("sleep 300", timeout=400))
            await asyncio.sleep(0.2)
            other = make_backend()
            await other.remove(box.spec.name)
            await other.close()
            with pytest.raises(SandboxGone):
                await waiting
            with pytest.raises(SandboxGone):
                await box.exec("true", timeout=5)
            with pytest.raises(SandboxGone):
                await backend.attach(box.spec)
            await box.destroy()
            await box.destroy()

        run(scenario)

    def test_a_name_is_used_once(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            with pytest.raises(Conflict):
                await backend.create(box.spec)
            assert list(await backend.orphans(box.spec.campaign_id)) == [box.spec.name]
            assert (await box.exec("echo still here", timeout=20)).ok

        run(scenario)

    def test_the_workspace_outlives_the_sandbox(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            await box.write("notes/kept.txt", b"kept")
            await box.destroy()
            assert (box.spec.workspace / "notes" / "kept.txt").read_bytes() == b"kept"
            again = await backend.create(box.spec)
            assert await again.read("notes/kept.txt") == b"kept"
            assert (await again.exec("echo more >> notes/kept.txt", timeout=20)).ok

        run(scenario)

    def test_it_ends_at_the_end_of_its_lifetime(
        self, make_backend: Callable[[], SandboxBackend], spec: SandboxSpec
    ) -> None:
        async def whole() -> None:
            backend = make_backend()
            try:
                box = await backend.create(dataclasses.replace(spec, lifetime_seconds=1.0))
                with pytest.raises(SandboxGone):
                    await box.exec("sleep 300", timeout=400)
            finally:
                await backend.remove(spec.name)
                await backend.close()

        asyncio.run(whole())

    def test_stats(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            await box.exec("head -c 5000000 /dev/urandom > five", timeout=20)
            job = await box.start_job("sleep 300", timeout=400)
            stats = await box.stats()
            await box.stop_job(job.job_id)
            assert 1_000_000 < stats.memory_bytes < MEMORY
            assert 1 <= stats.processes <= PROCESSES
            assert stats.cpu_seconds > 0
            assert 5_000_000 <= stats.workspace_bytes < WORKSPACE_BYTES

        run(scenario)

    def test_mounts_are_read_only_and_live(
        self, make_backend: Callable[[], SandboxBackend], spec: SandboxSpec, tmp_path: Path
    ) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "a.txt").write_text("a")
        whole_spec = dataclasses.replace(
            spec, mounts=[Mount(data, "/data/public")], env={"PYTHONPATH": "/data/public", "GREETING": "hi"}
        )

        async def whole() -> None:
            backend = make_backend()
            try:
                box = await backend.create(whole_spec)
                assert (await box.exec("cat /data/public/a.txt; echo $GREETING", timeout=20)).output == "ahi\n"
                (data / "b.txt").write_text("b")
                assert await box.read("/data/public/b.txt") == b"b"
                assert not (await box.exec("echo x > /data/public/new", timeout=20)).ok
                with pytest.raises(PermissionError):
                    await box.write("/data/public/new", b"")
                (data / "shown.py").write_text("import numpy, scipy, sklearn\nprint(sklearn.__name__)\n")
                result = await box.exec("python -c 'import shown'", timeout=120)
                assert result.output == "sklearn\n"
            finally:
                await backend.remove(spec.name)
                await backend.close()

        asyncio.run(whole())


async def living_sleeps(box: Sandbox) -> int:
    """How many ``sleep`` processes live in a sandbox, zombies left out."""
    look = (
        "import os\n"
        "n = 0\n"
        "for p in os.listdir('/proc'):\n"
        "    if p.isdigit():\n"
        "        try: s = open(f'/proc/{p}/stat').read()\n"
        "        except OSError: continue\n"
        "        n += '(sleep)' in s and s.rsplit(')', 1)[1].split()[0] not in 'ZX'\n"
        "print(n)\n"
    )
    return int((await box.exec(["python3", "-c", look], timeout=60)).output)
