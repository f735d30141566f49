"""A model service that is away, crowded or wrong: what becomes of a campaign."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aar.campaign.lifecycle import ending_of_outcomes
from aar.campaign.spec import load_spec
from aar.errors import SpecError
from aar.researcher.context import ResearcherOutcome
from aar.testing.fake_messages_api import (
    FakeMessagesApi,
    Fault,
    HttpError,
    MessagesRequest,
    ModelByTurn,
    ModelReply,
    ServerRules,
    serve_app_in_thread,
    tool_use_block,
)

_FINISH = ModelReply([tool_use_block("finish", summary="done")])
_DONE = ModelByTurn([_FINISH])
_TWO_TURNS = ModelByTurn([ModelReply([tool_use_block("bash", command="true")]), _FINISH])


class Home:
    """One machine with one campaign on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def aar(self, *arguments: str) -> tuple[int, str]:
        """Run a command; its exit code and what it printed."""
        with self.running(*arguments) as process:
            printed, _ = process.communicate(timeout=60)
        return process.returncode, printed

    def running(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command."""
        environment = {**os.environ, "AAR_HOME": str(self._folder / "home"), "ANTHROPIC_API_KEY": "sk-x"}
        return subprocess.Popen(
            [sys.executable, "-m", "aar", *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def start(self, base_url: str, **researchers: Any) -> tuple[int, str]:
        """Start a campaign of one researcher."""
        spec = {
            "problem": "toy",
            "researchers": {"count": 1, "model": "claude-opus-4-8", "base_url": base_url, **researchers},
            "limits": {"usd": 5, "hours": 0.05},
            "sandbox": {"backend": "bubblewrap"},
            "scoring": {"seeds": 1, "confirm_top": 0},
        }
        path = self._folder / "spec.yaml"
        path.write_text(json.dumps(spec))
        return self.aar("start", str(path), "--plain", "--yes", "--no-serve")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def playing(fault: Callable[[MessagesRequest], Fault | None]) -> FakeMessagesApi:
    return FakeMessagesApi(_DONE, rules=ServerRules(strict=False), faults=fault)


def test_a_pause_beyond_the_campaigns_hours_pauses_it_and_a_resume_goes_on(home: Home) -> None:
    asked: Sequence[Fault] = [HttpError(429, retry_after=3600)]
    double = playing(lambda request: asked[request.number] if request.number < len(asked) else None)
    with serve_app_in_thread(double) as url:
        code, printed = home.start(url)
        assert (code, "paused: the service asks for a pause until" in printed) == (0, True), printed
        assert len([each for each in double.requests if each.path == "/v1/messages"]) == 1
        assert "the service asks for a pause until" in home.aar("status")[1]
        code, printed = home.aar("resume", "--plain", "--yes", "--no-serve")
        assert (code, "every researcher finished" in printed) == (0, True), printed


def test_an_outage_longer_than_its_patience_pauses_a_campaign_and_is_shown(home: Home) -> None:
    with serve_app_in_thread(playing(lambda _: HttpError(529))) as url:
        code, printed = home.start(url, patience_minutes=0.02)
    assert (code, "campaign paused" in printed or "paused:" in printed) == (0, True), printed
    assert "the service answered 529: Overloaded; try 1, next in" in printed


def test_a_wait_for_the_service_is_what_a_researcher_is_shown_to_do(home: Home) -> None:
    with serve_app_in_thread(
        playing(lambda request: HttpError(429, retry_after=3) if request.number == 0 else None)
    ) as url:
        code, printed = home.start(url)
    assert (code, "every researcher finished" in printed) == (0, True), printed
    assert "waiting for the service: try 1, next in 3 s" in printed
    assert "trying the service again: try 2" in printed


def paused_by_the_service(home: Home, patience_minutes: float) -> str:
    """A campaign that had an answer and is paused now; the address of its service, which is gone."""
    double = FakeMessagesApi(
        _TWO_TURNS,
        rules=ServerRules(strict=False),
        faults=lambda request: HttpError(429, retry_after=3600) if request.number else None,
    )
    with serve_app_in_thread(double) as url:
        code, printed = home.start(url, patience_minutes=patience_minutes)
    assert (code, "paused: the service asks for a pause until" in printed) == (0, True), printed
    return url


def test_a_resume_during_an_outage_waits_for_the_service(home: Home) -> None:
    url = paused_by_the_service(home, 15)
    with home.running("resume", "--plain", "--yes", "--no-serve") as process:
        try:
            assert process.stdout is not None
            assert any(f"cannot reach {url}" in line and "try 1, next in" in line for line in process.stdout)
            double = FakeMessagesApi(_TWO_TURNS, rules=ServerRules(strict=False))
            with serve_app_in_thread(double, port=int(url.rsplit(":", 1)[1])):
                printed = process.stdout.read()
                assert (process.wait(60), "every researcher finished" in printed) == (0, True), printed
        finally:
            process.kill()


def test_a_resume_whose_patience_ends_stays_paused_and_says_why_in_one_sentence(home: Home) -> None:
    url = paused_by_the_service(home, 0.02)
    code, printed = home.aar("resume", "--plain", "--yes", "--no-serve")
    assert (code, f"paused: the model service is away: cannot reach {url}" in printed) == (0, True), printed
    assert "error:" not in printed
    assert "the model service is away" in home.aar("status")[1]


def test_an_address_where_nobody_answers_fails_at_once_and_says_so(home: Home) -> None:
    code, printed = home.start("http://127.0.0.1:9")
    assert (code, "cannot reach http://127.0.0.1:9" in printed) == (1, True), printed
    assert "failed" in home.aar("list")[1]


def test_a_campaign_rests_where_the_service_is_away_and_fails_where_all_failed() -> None:
    away, failed, done = (
        ResearcherOutcome("away", "529"),
        ResearcherOutcome("failed", "401"),
        ResearcherOutcome("finished", ""),
    )
    assert ending_of_outcomes([away, failed, done]).state == "paused"
    assert ending_of_outcomes([failed, failed]).state == "failed"


@pytest.mark.parametrize("text", ["not a url", "ftp://host", "http://", "http://host:port", "localhost:8080"])
def test_a_base_url_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"researchers\.base_url: invalid server address"):
        load_spec(None, {"researchers.base_url": text})
    assert load_spec(None, {"researchers.base_url": "http://127.0.0.1:8080/v"}).researchers.base_url
