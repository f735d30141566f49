"""Conformance tests of background jobs."""

from __future__ import annotations

import asyncio

import pytest

from aar.errors import NotFound
from aar.sandbox.protocol import ExitReason, Sandbox, SandboxBackend
from aar.testing.conformance.sandbox.fixtures import Run, SandboxTests, living_sleeps


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
