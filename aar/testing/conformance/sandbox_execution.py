"""Conformance tests of ``exec`` and background jobs, with the sandbox suite's fixtures."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from aar.errors import NotFound
from aar.sandbox.protocol import ExitReason, Sandbox, SandboxBackend, SandboxSpec

MEMORY = 256 * 1024**2
PROCESSES = 64
WORKSPACE_BYTES = 32 * 1024**2
Scenario = Callable[[SandboxBackend, Sandbox], Awaitable[None]]
Run = Callable[[Scenario], None]
"""Function that runs a scenario with a fresh sandbox and checks that nothing is left."""


class SandboxTests:
    """Fixtures of all parts of the sandbox suite."""

    @pytest.fixture
    def make_backend(self) -> Callable[[], SandboxBackend]:
        """Return a function that makes the backend under test.

        It is called inside the test's event loop.
        """
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def spec(self, tmp_path: Path) -> SandboxSpec:
        """Return the spec of the sandbox under test."""
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
        """Return ``run(scenario)``, which runs a scenario in a fresh sandbox and cleans up."""

        async def whole(scenario: Scenario) -> None:
            backend = make_backend()
            try:
                sandbox = await backend.create(spec)
                await scenario(backend, sandbox)
            finally:
                await backend.remove(spec.name)
                left = await backend.list(spec.campaign_id)
                await backend.close()
            assert list(left) == []

        return lambda scenario: asyncio.run(whole(scenario))


async def living_sleeps(box: Sandbox) -> int:
    """Count the ``sleep`` processes in a sandbox, zombies left out."""
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


class CommandTests(SandboxTests):
    """Tests of ``exec``: results, bounds, time limits, the death of whole trees."""

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

    def test_a_very_long_command_runs(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec(f"# {'x' * 300_000}\necho done", timeout=20)
            assert result.output == "done\n"

        run(scenario)

    def test_a_signal_is_distinguished_from_an_exit_code(self, run: Run) -> None:
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

    def test_running_out_of_memory_is_distinguished(self, run: Run) -> None:
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


class JobTests(SandboxTests):
    """Tests of background jobs."""

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
            while await living_sleeps(box) < 3:  # noqa: ASYNC110 - the awaited event happens in the sandbox
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
