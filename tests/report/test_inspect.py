"""The Inspect log of a researcher, read back by Inspect itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aar.budget.totals import read_totals
from aar.errors import UsageError
from aar.events import ContextReset, MessageAdded, ModelCallFailed, ToolFinished, TurnReceived
from aar.readmodels.transcript import whole_transcript
from aar.report.inspect_export import write_inspect_log
from aar.scoring.submissions import list_submissions
from aar.store.event_log import append_event

from .conftest import Archive

pytest.importorskip("inspect_ai", reason="the extra inspect (inspect_ai) is not installed")

from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ContentImage, ContentReasoning, ContentText

CAMPAIGN, RESEARCHER = "k3v9qd", "k3v9qd-r3"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def lived(archive: Archive) -> Archive:
    """The example campaign, its third researcher with a harder life: news, a plot, an error, a reset, a failed call."""
    call = {"type": "tool_use", "id": "t-2", "name": "submit_method", "input": {"path": "/workspace/m"}}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    life: list[Any] = [
        MessageAdded(reason="news", content=[{"type": "text", "text": "News: \x1b[31mpost #2"}], news_cursor=3),
        TurnReceived(
            request_id="q-2",
            model="claude-sonnet-5-5",
            content=[{"type": "thinking", "thinking": "Now.", "signature": "c2ln"}, call],
            stop_reason="tool_use",
            output_tokens=9,
            usd="0.01",  # type: ignore[arg-type]
        ),
        ToolFinished(
            tool_use_id="t-2",
            tool="submit_method",
            content=[{"type": "text", "text": "no method.yaml"}, image],
            is_error=True,
            seconds=0.5,
        ),
        ModelCallFailed(request_id="q-3", error="overloaded"),
        ContextReset(reason="full", content=[{"type": "text", "text": "Your notebook."}], kept_turns=2),
    ]
    with archive.db.writing() as session:
        for event in life:
            append_event(session, CAMPAIGN, event, RESEARCHER)
    return archive


def exported(archive: Archive, path: Path) -> EvalLog:
    with archive.db.reading() as session:
        assert write_inspect_log(session, RESEARCHER, path) == path
    return read_eval_log(path, resolve_attachments=True)


@pytest.mark.parametrize("form", ["out.eval", "out.json"])
def test_messages_come_in_the_logs_order(lived: Archive, tmp_path: Path, form: str) -> None:
    log = exported(lived, tmp_path / form)
    assert log.samples is not None
    [sample] = log.samples
    with lived.db.reading() as session:
        events = list(whole_transcript(session, RESEARCHER))
    assert [message.metadata and message.metadata["event"] for message in sample.messages] == [
        each.id for each in events
    ]
    roles = {"message_added": "user", "context_reset": "user", "model_call_failed": "user"}
    roles |= {"turn_received": "assistant", "tool_finished": "tool"}
    assert [message.role for message in sample.messages] == [roles[each.event.kind] for each in events]
    assert len(sample.messages) == 8


def test_thinking_calls_results_and_pictures_are_what_they_are(lived: Archive, tmp_path: Path) -> None:
    log = exported(lived, tmp_path / "out.eval")
    assert log.samples is not None
    messages = log.samples[0].messages
    first, turn, result = messages[1], messages[4], messages[5]
    assert [type(part) for part in first.content] == [ContentReasoning, ContentText]
    assert turn.role == "assistant"
    assert turn.tool_calls is not None
    assert (turn.model, turn.tool_calls[0].function) == ("claude-sonnet-5-5", "submit_method")
    assert turn.tool_calls[0].arguments == {"path": "/workspace/m"}
    assert isinstance(turn.content[0], ContentReasoning)
    assert (turn.content[0].reasoning, turn.content[0].signature) == ("Now.", "c2ln")
    assert result.role == "tool"
    assert (result.tool_call_id, result.function) == ("t-2", "submit_method")
    assert result.error is not None
    assert "no method.yaml" in result.error.message
    assert isinstance(result.content[1], ContentImage)
    assert result.content[1].image.endswith(PIXEL)
    assert "\x1b" not in messages[3].text


def test_scores_usage_and_model_are_the_campaigns(lived: Archive, tmp_path: Path) -> None:
    log = exported(lived, tmp_path / "out.json")
    assert log.samples is not None
    assert log.results is not None
    [sample] = log.samples
    with lived.db.reading() as session:
        handed_in = list_submissions(session, CAMPAIGN, researcher_id=RESEARCHER)
        spent = read_totals(session, CAMPAIGN).researchers[RESEARCHER]
    assert sample.scores is not None
    means = {f"s{each.number}": each.mean for each in handed_in}
    assert len(means) == 3
    assert {name: score.value for name, score in sample.scores.items()} == {
        name: "rejected" if mean is None else mean for name, mean in means.items()
    }
    assert {score.name: score.metrics["score"].value for score in log.results.scores} == {
        name: mean for name, mean in means.items() if mean is not None
    }
    assert log.eval.model == "offline-search"
    usage = log.stats.model_usage["offline-search"]
    assert (usage.input_tokens, usage.output_tokens) == (spent.tokens.input_tokens, spent.tokens.output_tokens)
    assert usage.input_tokens_cache_read == spent.tokens.cache_read_tokens == 31_000
    assert sample.metadata["direction_key"] == "neighbours"
    assert log.eval.dataset.name == CAMPAIGN


def test_another_ending_is_refused(lived: Archive, tmp_path: Path) -> None:
    with lived.db.reading() as session, pytest.raises(UsageError, match="invalid name for an Inspect log"):
        write_inspect_log(session, RESEARCHER, tmp_path / "out.log")
