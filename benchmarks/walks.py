"""Counts the files that a reader must open to follow one piece of work.

Four walks through a small campaign: the start to the first turn, one model call, one submission, one post.

Run: python benchmarks/walks.py [--list]

A file counts when one of its functions is entered in the controller's process during the walk, in any thread
(``sys.setprofile``); module and class bodies do not count, nor do the processes that the controller starts. A walk is
followed by its task's context, so that the heartbeat and other background work do not count, except in the first: there
everything from the command's first line on counts, imports included. ``--list`` names the files.
"""

from __future__ import annotations

import contextvars
import dis
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import aar

PACKAGE = f"{Path(aar.__file__).parent}{os.sep}"
START = "start to the first turn"
# The functions between whose first line and last a walk goes on; a submission is worked on by several tasks.
MARKS = {
    "one model call": {"take_turn"},
    "one submission": {
        "submit_method_tool",
        "Scorer._claim",
        "Scorer._audit",
        "Scorer._make",
        "Scorer._count",
        "Scorer._close",
    },
    "one post": {"post_tool"},
}
_CHILD = "--in-child"
_SECONDS = 300


class Walks:
    """Records the files entered, by walk."""

    def __init__(self) -> None:
        self.files: dict[str, set[str]] = {START: set(), **{name: set() for name in MARKS}}
        self._names = {qualified: walk for walk, names in MARKS.items() for qualified in names}
        self._inside: contextvars.ContextVar[str] = contextvars.ContextVar("walk", default="")
        self._known: dict[CodeType, str] = {}
        self._started = False

    def begin(self) -> None:
        """Profile this thread and each later one."""
        threading.setprofile(self._record)
        sys.setprofile(self._record)

    def _record(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in {"call", "return"}:
            return
        code = frame.f_code
        path = self._known.get(code)
        if path is None:
            function = code.co_flags & 1 and code.co_filename.startswith(PACKAGE)
            path = self._known[code] = code.co_filename.removeprefix(PACKAGE) if function else ""
        if not path:
            return
        walk = self._names.get(code.co_qualname, "")
        if event == "call":
            if _is_resumed(frame):
                return
            if walk and not self._inside.get():
                self._inside.set(walk)
            if not self._started:
                self.files[START].add(path)
            if inside := self._inside.get():
                self.files[inside].add(path)
        elif walk and self._inside.get() == walk and _is_last(frame):
            self._inside.set("")
            self._started = self._started or walk == "one model call"


def _is_resumed(frame: FrameType) -> bool:
    """Tell the going on after an ``await`` from a function's begin; for the profiler both are calls."""
    code = frame.f_code.co_code
    return dis.opname[code[frame.f_lasti]] == "RESUME" and code[frame.f_lasti + 1] != 0


def _is_last(frame: FrameType) -> bool:
    """Tell a function's end from an ``await``, which is a return for the profiler too."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] != "YIELD_VALUE"


def _child() -> None:
    from aar.cli import main

    walks = Walks()
    walks.begin()
    sys.argv = ["aar", *sys.argv[2:]]
    try:
        main()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        lines = [f"{walk}\t{path}" for walk, files in walks.files.items() for path in sorted(files)]
        Path(os.environ["AAR_HOME"], "walks.tsv").write_text("\n".join(lines))


def main() -> None:
    """Run the campaign, print the counts."""
    if _CHILD in sys.argv:
        _child()
        return
    with tempfile.TemporaryDirectory(prefix="aar-walks-") as home:
        options = ["--researchers", "1", "--problem", "toy", "--plain", "--yes", "--no-serve", "--submissions", "1"]
        environment = {**os.environ, "AAR_HOME": home}
        process = subprocess.Popen(
            [sys.executable, __file__, _CHILD, "start", *options], env=environment, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.send_signal(signal.SIGINT)
            process.wait(60)
        entered: dict[str, list[str]] = {START: [], **{name: [] for name in MARKS}}
        for line in Path(home, "walks.tsv").read_text().splitlines():
            walk, path = line.split("\t")
            entered[walk].append(path)
    for walk, files in entered.items():
        print(f"{walk:<26}{len(files):>5} files")
        if "--list" in sys.argv:
            print("\n".join(f"    {path}" for path in files))


if __name__ == "__main__":
    main()
