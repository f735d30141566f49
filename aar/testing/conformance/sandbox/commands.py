"""Conformance tests of ``exec``: results, bounds, time limits, the death of whole trees."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aar.sandbox.protocol import ExitReason, Sandbox, SandboxBackend
from aar.testing.conformance.sandbox.fixtures import Run, SandboxTests, living_sleeps


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
