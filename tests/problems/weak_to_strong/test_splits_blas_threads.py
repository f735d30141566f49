"""A split's bytes do not depend on how many threads linear algebra would use on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aar.testing.conformance.problem_suite import folder_bytes

_PREPARE = """
import sys, threading
from pathlib import Path
import numpy as np
from threadpoolctl import threadpool_info
from aar.problems.protocol import Stage
from aar.problems.registry import find_problem
threads = lambda: {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
work = lambda: find_problem("weak_to_strong").prepare("movie", Stage.MEASURE, 5, Path(sys.argv[1]))
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(threads())
"""


def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path) -> None:
    seen = []
    for number in (1, 3):
        into = tmp_path / str(number)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(number)}
        ran = subprocess.run(
            [sys.executable, "-c", _PREPARE, str(into)], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.stdout.strip() == "{1}", ran.stdout + ran.stderr
        seen.append((folder_bytes(into / "public"), folder_bytes(into / "hidden")))
    assert seen[0] == seen[1]
    assert seen[0][0]
