"""Keys and tokens show nowhere: a real campaign with a key, and all that it wrote, printed, sent and served."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from aar.testing.fake_messages_api import (
    FakeMessagesApi,
    FunctionModel,
    HttpError,
    MessagesRequest,
    ModelReply,
    ServerRules,
    serve_app_in_thread,
    text_block,
    tool_use_block,
)

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

KEY = "sk-ant-api03-never-to-be-seen-0123456789abcdef"
MODEL = "claude-haiku-4-5"
_LOOK = (
    "env; tr '\\0' '\\n' < /proc/self/environ; tr '\\0' '\\n' < /proc/1/environ; cat /proc/*/cmdline | tr '\\0' ' '; "
    f"grep -rls '{KEY[:12]}' /workspace /lab /data /forum /tmp /root /home /run 2>/dev/null; echo looked"
)
_METHOD = (
    "mkdir -p m && printf 'title: Mean\\nclaim: The mean will do.\\nfamilies: [other]\\n' > m/method.yaml && "
    "printf 'import argparse\\np = argparse.ArgumentParser()\\n' > m/run.py && env > m/env.txt && ls m"
)
_PAGE = re.compile(r'(?:href|src)="(/[^"#]*)')
_PATIENCE = 60.0


def _play(request: MessagesRequest) -> ModelReply:
    """A curious researcher: it looks for keys, posts what it found, hands it in, and ends."""
    seen = "\n".join(str(result.get("content")) for result in request.results())
    turns: list[list[object]] = [
        [text_block("I look around."), tool_use_block("bash", command=_LOOK)],
        [
            tool_use_block("post", kind="insight", title="What I found", body=f"```\n{seen[:3000]}\n```"),
            tool_use_block("budget"),
        ],
        [tool_use_block("bash", command=_METHOD), tool_use_block("start_job", command="env; sleep 0.1; env > job.txt")],
        [tool_use_block("submit_method", path="m"), tool_use_block("leaderboard")],
        [tool_use_block("finish", summary=f"Found: {seen[:500]}")],
    ]
    return ModelReply(turns[min(request.turns, len(turns) - 1)])  # type: ignore[arg-type]


class Person:
    """Runs ``aar`` over a home of its own, and keeps all that it prints."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AAR_", "ANTHROPIC"))}
        plain = {"AAR_HOME": str(home), "AAR_LOG_LEVEL": "debug", "ANTHROPIC_LOG": "debug", "NO_COLOR": "1"}
        self._env = {**clean, **plain, **environment}
        self.printed = ""

    def run(self, *arguments: str, code: int = 0, secret: bool = False) -> str:
        """Run a command; ``secret`` output is what shows a token once, and is not kept."""
        done = subprocess.run(
            [sys.executable, "-m", "aar", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        self.printed += done.stderr if secret else done.stdout + done.stderr
        return done.stdout

    def served(self, token: str) -> dict[str, bytes]:
        """All pages and API answers that links lead to, as the operator sees them."""
        command = [sys.executable, "-m", "aar", "serve", "--port", "0"]
        with subprocess.Popen(
            command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        ) as server:
            assert server.stdout is not None
            try:
                address = self._address(server.stdout.fileno())
                with httpx.Client(base_url=address, headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
                    return _crawl(client)
            finally:
                server.send_signal(signal.SIGINT)
                self.printed += server.stdout.read().decode(errors="replace")

    def _address(self, output: int) -> str:
        deadline = time.monotonic() + _PATIENCE
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
            assert select.select([output], [], [], max(deadline - time.monotonic(), 0))[0], said
            piece = os.read(output, 65536)
            assert piece, said
            said += piece.decode(errors="replace")
        self.printed += said
        return found[0]


def _crawl(client: httpx.Client) -> dict[str, bytes]:
    listed = client.get("/api/v1/openapi.json").json()["paths"]
    campaign = client.get("/api/v1/campaigns").json()["items"][0]["id"]
    waiting = ["/", *(path for path in listed if "get" in listed[path] and "events" not in path)]
    names = {"campaign_id": campaign, "researcher": "r1", "name": "r1", "number": "1", "post_id": "1"}
    answers: dict[str, bytes] = {}
    while waiting and len(answers) < 150:
        path = re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], "1"), waiting.pop(0))
        if path in answers or path.startswith(("/static", "/logout")):
            continue
        answer = client.get(path, follow_redirects=True)
        answers[path] = answer.content
        if answer.headers.get("content-type", "").startswith("text/html"):
            waiting += _PAGE.findall(answer.text.replace("&amp;", "&"))
    return answers


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("way", [pytest.param("file", marks=pytest.mark.nightly), "environment"])
def test_no_key_or_token_in_what_a_campaign_writes_prints_sends_or_serves(tmp_path: Path, way: str) -> None:
    key_file = tmp_path / "key.txt"
    key_file.write_text(KEY + "\n")
    environment = {"AAR_ANTHROPIC_API_KEY_FILE": str(key_file)} if way == "file" else {"ANTHROPIC_API_KEY": KEY}
    person = Person(tmp_path / "home", environment)
    # The first calls meet errors, whose texts are logged.
    faults = {0: HttpError(429, retry_after=0.01), 1: HttpError(529)}
    invited: list[str] = []

    def play(request: MessagesRequest) -> ModelReply:
        if request.turns == 2 and not invited:
            made = json.loads(person.run("mcp", "invite", "alice", "--json", secret=True))
            invited.append(made["token"])
        return _play(request)

    double = FakeMessagesApi(
        FunctionModel(play),
        rules=ServerRules(keys=[KEY], models=[MODEL]),
        faults=lambda request: faults.get(request.number),
    )
    with serve_app_in_thread(double) as base_url:
        spec = tmp_path / "spec.yaml"
        spec.write_text(
            f"problem: toy\nresearchers: {{count: 2, model: {MODEL}, base_url: '{base_url}'}}\n"
            "sandbox: {backend: bubblewrap}\nlimits: {usd: 20, submissions: 2}\nscoring: {seeds: 1, confirm_top: 0}\n"
        )
        person.run("start", str(spec), "--plain", "--yes", "--port", "0")
    assert len([each for each in double.requests if each.status == 200 and each.path == "/v1/messages"]) >= 10
    operator = (person.home / "operator-token").read_text().strip()
    secrets = {"key": KEY, "operator's token": operator}
    secrets["outside researcher's token"] = invited[0]
    secrets |= {path.name: path.read_text().strip() for path in person.home.glob("*-token")}
    for command in ("status", "costs", "leaderboard", "submissions", "events", "transcript r1", "forum list"):
        person.run(*command.split())
        person.run(*command.split(), "--json")
    report = tmp_path / "report.html"
    person.run("report", "--output", str(report))
    served = person.served(operator)
    assert any(b"I look around" in answer for answer in served.values()), sorted(served)
    assert "looked" in person.printed  # what the researchers saw is in what is searched

    texts = {str(path): path.read_bytes() for path in _files(person.home) if not path.name.endswith("-token")}
    assert any(name.endswith("env.txt") for name in texts), "no workspace was searched"
    assert any("/forum/" in name or "mirror" in name for name in texts), sorted(texts)
    texts |= {"the report": report.read_bytes(), "the spec": spec.read_bytes(), "printed": person.printed.encode()}
    texts |= {f"served {path}": body for path, body in served.items()}
    texts |= {f"sent {each.number}": repr((each.body, each.headers)).encode() for each in double.requests}
    shown = [(what, name) for what, value in secrets.items() for name, text in texts.items() if value.encode() in text]
    assert not shown
