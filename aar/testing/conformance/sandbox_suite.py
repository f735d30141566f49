"""The conformance suite of the ``SandboxBackend`` protocol, for every backend, yours included.

Subclass it and override the ``make_backend`` fixture::

    class TestMine(SandboxSuite):
        @pytest.fixture
        def make_backend(self): return MyBackend

Tests are plain functions that run their own event loop, so that no plug-in for asyncio is needed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.errors import Conflict, SandboxGone, TransferRefused
from aar.sandbox.protocol import Mount, Sandbox, SandboxBackend, SandboxSpec
from aar.testing.conformance.sandbox_execution import (
    MEMORY,
    PROCESSES,
    WORKSPACE_BYTES,
    CommandTests,
    JobTests,
    Run,
    SandboxTests,
)


class FileTests(SandboxTests):
    """Tests of file transfers and mounts."""

    def test_input_directory_and_environment(self, run: Run) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            result = await box.exec("cat; pwd; echo $X", timeout=20, cwd="/tmp", env={"X": "y"}, stdin=b"in\n")  # noqa: S108
            assert result.output == "in\n/tmp\ny\n"
            assert (await box.exec("pwd", timeout=20)).output == "/workspace\n"

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

    @pytest.mark.parametrize("names", [["d"] * 1500, ["x" * 250] * 24, ["d"] * 40], ids=["many", "long", "40"])
    def test_what_nests_too_deep_does_not_come_out(self, run: Run, tmp_path: Path, names: list[str]) -> None:
        async def scenario(backend: SandboxBackend, box: Sandbox) -> None:
            nest = (
                f"import os\nos.mkdir('top')\nos.chdir('top')\n"
                f"for name in {names!r}:\n    os.mkdir(name)\n    os.chdir(name)\n"
            )
            assert (await box.exec(["python", "-c", nest], timeout=60)).ok
            with pytest.raises(TransferRefused, match=r"nests deeper than 40 levels|name too long"):
                await box.get("top", tmp_path / "out")
            assert (await box.exec("mkdir -p top/fine && echo still here", timeout=20)).ok

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
            assert [row.name for row in await backend.list(box.spec.campaign_id)] == [box.spec.name]
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


class SandboxSuite(CommandTests, FileTests, JobTests, LifeTests):
    """Every promise of ``aar.sandbox.protocol``, as tests."""
