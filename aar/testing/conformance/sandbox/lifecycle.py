"""Conformance tests of a sandbox's life: names, controller crashes, its end, its figures."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from aar.errors import Conflict, SandboxGone
from aar.sandbox.protocol import Sandbox, SandboxBackend, SandboxSpec
from aar.testing.conformance.sandbox.fixtures import MEMORY, PROCESSES, WORKSPACE_BYTES, Run, SandboxTests


class LifeTests(SandboxTests):
    """Tests of a sandbox's life: names, crashes of its controller, its end, its figures."""

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

    def test_deep_trees_are_pruned_and_the_rest_is_saved(
        self, make_backend: Callable[[], SandboxBackend], spec: SandboxSpec
    ) -> None:
        nest = (
            "import os\nopen('notes', 'w').write('kept')\n"
            "for names in (['d'] * 1500, ['x' * 250] * 24):\n"
            "    os.chdir('/workspace')\n"
            "    for name in names:\n        os.mkdir(name)\n        os.chdir(name)\n"
        )

        async def whole() -> None:
            backend = make_backend()
            try:
                for _ in range(2):
                    box = await backend.create(spec)
                    assert (await box.exec(["python", "-c", "import shutil; shutil.rmtree('d', True)"], timeout=60)).ok
                    await box.exec("rm -rf x*", timeout=60)
                    assert (await box.exec(["python", "-c", nest], timeout=60)).ok
                    await box.destroy()
                box = await backend.create(spec)
                assert await box.read("notes") == b"kept"
            finally:
                await backend.remove(spec.name)
                await backend.close()

        asyncio.run(whole())

    def test_an_unwanted_workspace_is_removed(
        self, make_backend: Callable[[], SandboxBackend], spec: SandboxSpec
    ) -> None:
        unwanted = dataclasses.replace(spec, keep_workspace=False)

        async def whole() -> None:
            backend = make_backend()
            try:
                box = await backend.create(unwanted)
                await box.exec("mkdir -p a/b; echo x > a/b/c; chmod 0 a/b", timeout=20)
                await box.destroy()
                assert list(unwanted.workspace.parent.iterdir()) == []
                # Another controller removes it the same way.
                await backend.create(unwanted)
                other = make_backend()
                await other.remove(unwanted.name)
                await other.close()
                assert list(unwanted.workspace.parent.iterdir()) == []
            finally:
                await backend.remove(unwanted.name)
                await backend.close()

        asyncio.run(whole())

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
