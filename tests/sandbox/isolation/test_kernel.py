"""What of the kernel's files is hidden, and what programs read in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.sandbox.isolation.kernel import hidden_in_proc, hidden_in_sys, write_replacement_files
from aar.sandbox.protocol import SandboxBackend, SandboxSpec


def test_all_is_hidden_but_what_programs_need() -> None:
    hidden = hidden_in_proc()
    assert {"/proc/vmstat", "/proc/interrupts"} <= set(hidden.files)
    assert {"/proc/sys/fs", "/proc/irq"} <= set(hidden.folders)
    parts = {path.split("/")[2] for path in hidden.paths if path.startswith("/proc/") and path.count("/") == 2}
    shown = {entry.name for entry in Path("/proc").iterdir() if not entry.name.isdigit()} - parts
    assert shown == {
        *("cpuinfo", "loadavg", "meminfo", "stat", "uptime"),
        *("filesystems", "mounts", "net", "self", "sys", "sysvipc", "thread-self", "version"),
    }


@pytest.mark.skipif(not Path("/sys/block").is_dir(), reason="this machine has no /sys")
def test_no_disk_is_shown_with_or_without_a_gpu() -> None:
    assert "/sys/block" in hidden_in_sys().folders
    assert "/sys/devices/system" not in hidden_in_sys().paths
    with_gpu = hidden_in_sys(gpu=True)
    assert {"/sys/block", "/sys/class/block", "/sys/dev/block"} <= set(with_gpu.folders)
    assert not {"/sys/bus", "/sys/class", "/sys/devices", "/sys/module"} & set(with_gpu.folders)
    for device in Path("/sys/block").iterdir():
        assert any(device.resolve().is_relative_to(folder) for folder in with_gpu.folders)
    assert "/proc/devices" in hidden_in_proc().files
    assert "/proc/devices" not in hidden_in_proc(gpu=True).files


def test_fixed_files_tell_the_sandboxs_own_memory(tmp_path: Path) -> None:
    files = write_replacement_files(tmp_path / "proc", SandboxSpec("box", "c", tmp_path / "w", memory_bytes=3 << 30))
    sizes = dict(line.split(":") for line in files.fixed["/proc/meminfo"].read_text().splitlines())
    assert sizes["MemTotal"].split() == sizes["MemAvailable"].split() == [str(3 << 20), "kB"]
    assert files.empty_file.read_bytes() == b""
    assert list(files.empty_folder.iterdir()) == []


def test_everyday_programs_work_with_them(each_backend: Callable[[], SandboxBackend], tmp_path: Path) -> None:
    """Process tables, memory, processors and a parallel fit, as methods ask for them."""
    script = """
import os, joblib, numpy, sklearn.linear_model
assert os.cpu_count() and os.sysconf("SC_PHYS_PAGES") > 0 and os.getloadavg()
with open("/proc/meminfo") as file:
    total = next(line for line in file if line.startswith("MemTotal"))
assert int(total.split()[1]) == 512 * 1024, total
assert joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for n in range(3)) == [0, 1, 2]
x = numpy.arange(20.0).reshape(-1, 1)
sklearn.linear_model.LogisticRegression().fit(x, x[:, 0] > 9)
print("fine")
"""

    async def whole() -> list[str]:
        backend = each_backend()
        spec = SandboxSpec("box", "c", tmp_path / "w", memory_bytes=512 << 20, workspace_bytes=1 << 26, cpus=2.0)
        box = await backend.create(spec)
        try:
            fitted = await box.exec(["python3", "-W", "error", "-c", script], timeout=60)
            listed = await box.exec(
                "nproc && cat /proc/vmstat && ls /proc/sys/fs && tail -n 1 -q /etc/passwd", timeout=60
            )
            written = await box.exec("touch /proc/fs/x || echo x > /proc/loadavg", timeout=60)
        finally:
            await backend.remove(spec.name)
            await backend.close()
        assert fitted.output == "fine\n"
        assert listed.ok, listed.output
        assert not written.ok
        return listed.output.splitlines()

    assert len(asyncio.run(whole())) == 2
