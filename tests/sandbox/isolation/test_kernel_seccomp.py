"""The system call filter, loaded into a process of this kernel: what it refuses, and that honest calls pass."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aar.sandbox.isolation import kernel

pytestmark = pytest.mark.skipif(os.uname().machine not in kernel.filter_programs(), reason="no filter for this machine")

_PREPARE = """
import ctypes, errno, os, resource, subprocess, sys, threading
from aar.sandbox.isolation.kernel import filter_programs
from aar.sandbox.server.main import load_seccomp_filter
assert load_seccomp_filter(filter_programs())
libc = ctypes.CDLL(None, use_errno=True)
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

def refused(call, number):
    try:
        call()
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError("it passed")

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""
_END = """
child.communicate(b"\\n")
print("done")
"""


def run(script: str) -> None:
    """Run a script under the filter; it must come to its end."""
    command = [sys.executable, "-c", _PREPARE + script + _END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (10, 10))",
        "resource.prlimit(child.pid, resource.RLIMIT_NOFILE)",
        "os.sched_setaffinity(child.pid, os.sched_getaffinity(0))",
        "os.sched_setscheduler(child.pid, os.SCHED_IDLE, os.sched_param(0))",
        "os.sched_setparam(child.pid, os.sched_param(0))",
        "os.setpriority(os.PRIO_PROCESS, child.pid, 5)",
        "os.setpriority(os.PRIO_PGRP, 0, 5)",
        "os.setpriority(os.PRIO_USER, 0, 5)",
        "checked(libc.syscall(251 if os.uname().machine == 'x86_64' else 30, 1, child.pid, 0x6000))",
    ],
)
def test_limits_priorities_and_cores_of_others_are_refused(call: str) -> None:
    run(f"refused(lambda: {call}, errno.EPERM)")


@pytest.mark.parametrize("call", ["os.statvfs('/')", "os.fstatvfs(1)", "checked(libc.inotify_init1(0))"])
def test_what_tells_of_shared_file_systems_is_absent(call: str) -> None:
    run(f"refused(lambda: {call}, errno.ENOSYS)")


def test_own_limits_priority_and_cores_stay_the_callers() -> None:
    run("""
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
os.nice(1)
os.setpriority(os.PRIO_PROCESS, 0, 5)
checked(libc.syscall(251 if os.uname().machine == 'x86_64' else 30, 1, 0, 0x6000))
assert os.sched_getaffinity(child.pid) and os.getpriority(os.PRIO_PROCESS, child.pid) == 0
""")


def test_what_scientific_programs_ask_is_answered() -> None:
    run("""
thread = threading.Thread(target=print, args=("",), kwargs={"end": ""})
thread.start()
thread.join()
assert os.cpu_count() and os.sysconf("SC_PHYS_PAGES") > 0
import joblib, sklearn.linear_model
fitted = sklearn.linear_model.LogisticRegression().fit([[0.0], [1.0]], [0, 1])
assert joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for n in range(3)) == [0, 1, 2]
""")
