"""Conformance tests of file transfers and mounts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.errors import TransferRefused
from aar.sandbox.protocol import Mount, Sandbox, SandboxBackend, SandboxSpec
from aar.testing.conformance.sandbox.fixtures import Run, SandboxTests


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
