"""The real SDK on the real server, and a small world where an offline researcher's tools are carried out for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from aar.problems.protocol import Stage
from aar.problems.toy import Toy
from aar.researcher.offline import OFFLINE_MODEL_ID
from aar.researcher.offline.server_process import run_offline_server
from aar.scoring.method_manifest import read_manifest

Reply = dict[str, Any]


@dataclass
class Entry:
    author: str
    code: Path
    score: float | None
    verdict: str


@dataclass
class World:
    """What a team shares: data, submissions with their scores, and posts, all under one folder."""

    root: Path
    most_submissions: int = 100
    rising: bool = False
    """Give every submission a little more than the last one, unmeasured; for what only a gain sets off."""
    problem: Toy = field(default_factory=Toy)
    entries: list[Entry] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    votes: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "forum" / "posts").mkdir(parents=True)
        for domain in self.problem.research_domains:
            task = self.problem.prepare(domain, Stage.RESEARCH, 0, self.root / "research" / domain)
            shutil.copytree(task.public, self.root / "data" / domain)

    def place(self, path: str, who: str) -> str:
        """A path or command of a researcher's sandbox as one of this machine."""
        path = path.replace("/workspace", str(self.root / who))
        return re.sub(r"(?<![\w/.-])/(data|forum)\b", lambda found: f"{self.root}/{found.group(1)}", path)

    def run(self, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "PYTHONPATH": str(self.problem.lab())}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)

    def score(self, code: Path) -> Entry:
        if self.rising:
            return Entry("", code, 0.1 + 0.01 * len(self.entries), "")
        results = []
        for domain in self.problem.climbed_domains:
            into = self.root / "runs" / f"{len(self.entries)}-{domain}"
            task = self.problem.prepare(domain, Stage.MEASURE, 1, into)
            command = [sys.executable, "run.py", "--data", str(task.public), "--seed", "1", "--out", str(into / "out")]
            done = self.run(command, code)
            if done.returncode:
                return Entry("", code, None, f"run 1 of 2 ({domain}) crashed with exit code {done.returncode}")
            results.append((task, self.problem.score(task, into / "out")))
        return Entry("", code, self.problem.pool(results).mean, "")

    def use(self, who: str, tool: str, given: dict[str, Any]) -> tuple[str, bool]:
        """Carry out a tool; its text and whether it failed."""
        home = self.root / who
        home.mkdir(exist_ok=True)
        actions: dict[str, Callable[[], tuple[str, bool]]] = {
            "bash": lambda: self._bash(who, given),
            "str_replace_based_edit_tool": lambda: self._create(who, given),
            "submit_method": lambda: self._submit(who, given),
            "wait": lambda: (self._verdict(int(given["id"][1:])), False),
            "leaderboard": lambda: (self._board(), False),
            "fetch_snapshot": lambda: self._fetch(who, given),
            "post": lambda: self._post(who, given),
            "comment": lambda: (self.comments.append({"by": who, **given}), (f"Comment on #{given['post']}", False))[1],
            "vote": lambda: (self.votes.append({"by": who, **given}), (f"Vote on #{given['post']} noted", False))[1],
            "finish": lambda: ("Your work is finished.", False),
        }
        return actions[tool]()

    def _bash(self, who: str, given: dict[str, Any]) -> tuple[str, bool]:
        done = self.run(["bash", "-c", self.place(given["command"], who)], self.root / who)
        ending = f"[exit code {done.returncode}]" if done.returncode else ""
        return (done.stdout + done.stderr).replace(str(self.root / who), "/workspace") + ending, False

    def _create(self, who: str, given: dict[str, Any]) -> tuple[str, bool]:
        assert given["command"] == "create"
        path = Path(self.place(given["path"], who))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(given["file_text"])
        return f"File created successfully at: {given['path']}", False

    def _submit(self, who: str, given: dict[str, Any]) -> tuple[str, bool]:
        if len(self.entries) >= self.most_submissions:
            count = self.most_submissions
            return f"campaign: limit submissions = {count} reached ({count} spent or reserved, 1 more requested)", True
        code = self.root / "submitted" / str(len(self.entries) + 1)
        shutil.copytree(self.place(given["path"], who), code)
        read_manifest(code)
        entry = self.score(code)
        entry.author = who
        self.entries.append(entry)
        return f"Submission s{len(self.entries)} received, snapshot 0123456789ab.", False

    def _verdict(self, number: int) -> str:
        entry = self.entries[number - 1]
        if entry.score is None:
            return f"s{number} rejected: {entry.verdict}\nEvery run has to succeed."
        return f"s{number} measured: R2 {entry.score:.2f} ± 0.02 (90 % interval ...). Rank 1 of 1."

    def _board(self) -> str:
        measured = [(entry.score, number, entry) for number, entry in enumerate(self.entries, 1) if entry.score]
        rows = [
            f"{rank}  s{number}  {entry.author}  {score:.2f}  0.02  measured  ensemble  A title"
            for rank, (score, number, entry) in enumerate(sorted(measured, key=lambda row: -row[0]), 1)
        ]
        return "\n".join(["rank  submission  researcher  R2  error  status  families  title", *rows])

    def _fetch(self, who: str, given: dict[str, Any]) -> tuple[str, bool]:
        target = f"/workspace/fetched/{given['snapshot']}"
        shutil.copytree(self.entries[int(given["snapshot"][1:]) - 1].code, self.place(target, who))
        return f"Snapshot 0123456789ab written to {target}:\nmethod.yaml\nrun.py", False

    def _post(self, who: str, given: dict[str, Any]) -> tuple[str, bool]:
        self.posts.append({"by": who, **given})
        number = len(self.posts)
        lines = [f"# {given['title']}", "", f"- post #{number}, {given['kind']}, by {who}, 2026-04-01 00:00 UTC"]
        lines.append("- votes: +0, comments: 0")
        if "submission" in given:
            lines.append(f"- about submission {given['submission']}")
        (self.root / "forum" / "posts" / f"{number:04d}-post.md").write_text("\n".join(lines) + "\n")
        return f"Post #{number} created.", False


class Life:
    """One researcher's conversation: every answer of the model is carried out in the world."""

    def __init__(self, world: World, name: str, direction: str, problem: str = "toy") -> None:
        self.world = world
        self.name = name
        self.system = f"You are {name}.\n\nResearcher: {name}\nProblem: {problem}\nDirection: {direction}\n\nThe brief."
        self.messages: list[Reply] = [{"role": "user", "content": [{"type": "text", "text": "You are starting now."}]}]
        self.finished = False

    def request(self) -> Reply:
        return {"model": OFFLINE_MODEL_ID, "max_tokens": 16_000, "system": self.system, "messages": self.messages}

    def take(self, content: list[Reply]) -> None:
        """Carry out an answer's calls and add the answer and their results to the conversation."""
        self.messages.append({"role": "assistant", "content": content})
        results: list[Reply] = []
        for block in content:
            if block["type"] == "tool_use":
                text, failed = self.world.use(self.name, block["name"], block["input"])
                results.append(
                    {
                        "type": "tool_result",
                        "tool_use_id": block["id"],
                        "is_error": failed,
                        "content": text or "(empty)",
                    }
                )
                self.finished = self.finished or block["name"] == "finish"
        self.messages.append({"role": "user", "content": results or [{"type": "text", "text": "Go on."}]})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world on the toy problem."""
    return World(tmp_path)


@pytest.fixture
def born() -> type[Life]:
    """Makes a researcher in a world."""
    return Life


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[AsyncAnthropic]:
    """The real SDK against the real server in its own process."""
    async with run_offline_server(seed=3) as base_url, AsyncAnthropic(base_url=base_url, api_key="none") as client:
        yield client
