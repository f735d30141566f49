"""Builds an Inspect log: one evaluation with one sample, a researcher's whole life.

Import it only if ``inspect_ai`` is installed; loading it takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score
from inspect_ai.tool import ToolCall, ToolCallError
from sqlalchemy.orm import Session

from aar import __version__
from aar.budget.totals import Totals, read_totals
from aar.events import ToolFinished, TurnReceived
from aar.readmodels.secret_scrubber import make_scrubber
from aar.readmodels.transcript import transcript_item, whole_transcript
from aar.scoring.submissions import SubmissionView, list_submissions
from aar.store.event_log import LoggedEvent
from aar.store.models import Campaign, Researcher
from aar.text import clean_text

_STATUS = {"finished": "success", "failed": "error"}
_STOPS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "max_tokens", "refusal": "content_filter"}
_ALL = 1_000_000


def build_log(session: Session, researcher_id: str) -> EvalLog:
    """Builds a researcher's log: messages, usage from the ledger, a score per submission."""
    researcher = session.get_one(Researcher, researcher_id)
    campaign = session.get_one(Campaign, researcher.campaign_id)
    scrub = make_scrubber(session, campaign.id)
    events = list(whole_transcript(session, researcher_id))
    messages = [chat_message(each) for each in events]
    handed_in = list_submissions(session, campaign.id, researcher_id=researcher_id, limit=_ALL)
    usage = _usage(read_totals(session, campaign.id).researchers[researcher_id])
    began = events[0].at if events else campaign.created_at
    ended = events[-1].at if events else began
    about = {
        "campaign": campaign.id,
        "campaign_name": scrub.text(campaign.name),
        "researcher": researcher.name,
        "direction_key": researcher.direction_key,
        "direction": scrub.text(clean_text(researcher.direction)),
        "aar": __version__,
    }
    sample = EvalSample(
        id=researcher.name,
        epoch=1,
        input=about["direction"] or researcher.direction_key,
        target="",
        messages=messages,
        output=_output(messages, researcher.model, usage, events),
        scores={f"s{each.number}": _score(each, scrub.text) for each in handed_in},
        metadata=about | {"state": researcher.state, "cause": scrub.text(clean_text(researcher.cause))},
        model_usage={researcher.model: usage},
        started_at=_iso(began),
        completed_at=_iso(ended),
        total_time=(ended - began).total_seconds(),
        working_time=researcher.active_seconds,
    )
    status = _STATUS.get(campaign.state, "cancelled" if campaign.state == "paused" else "started")
    return EvalLog(
        status=status,
        error=EvalError(message=scrub.text(campaign.cause), traceback="", traceback_ansi="")
        if status == "error"
        else None,
        eval=EvalSpec(
            eval_id=f"{campaign.id}-{researcher.name}",
            run_id=campaign.id,
            task_id=f"{campaign.id}-{researcher.name}",
            created=_iso(campaign.created_at),
            task=f"aar/{Path(campaign.problem).name}",
            dataset=EvalDataset(name=campaign.id, samples=1, sample_ids=[researcher.name]),
            model=researcher.model,
            config=EvalConfig(epochs=1),
            packages={"aar": __version__},
            metadata=about,
        ),
        results=EvalResults(
            total_samples=1, completed_samples=int(status == "success"), scores=list(_measured(handed_in))
        ),
        stats=EvalStats(started_at=_iso(began), completed_at=_iso(ended), model_usage={researcher.model: usage}),
        samples=[sample],
    )


def write_log(log: EvalLog, path: Path) -> None:
    """Writes the log in the format of the file's extension."""
    write_eval_log(log, path)


def chat_message(logged: LoggedEvent) -> ChatMessageAssistant | ChatMessageTool | ChatMessageUser:
    """Converts one event to a message.

    Controller messages, news, resets and failures become user messages.
    """
    event, item = logged.event, transcript_item(logged)
    about = {"event": logged.id, "at": _iso(logged.at), "kind": event.kind, "note": item.note}
    if isinstance(event, TurnReceived):
        return ChatMessageAssistant(
            id=f"e{logged.id}",
            content=list(_said(event.content)),
            tool_calls=[_call(block) for block in event.content if block.get("type") == "tool_use"] or None,
            model=event.model,
            metadata=about | {"usd": str(event.usd), "output_tokens": event.output_tokens},
        )
    if isinstance(event, ToolFinished):
        text = "\n\n".join(block.text for block in item.blocks)
        return ChatMessageTool(
            id=f"e{logged.id}",
            content=list(_told(event.content)),
            tool_call_id=event.tool_use_id,
            function=event.tool,
            error=ToolCallError(type="unknown", message=text) if event.is_error else None,
            metadata=about | {"seconds": event.seconds},
        )
    parts = [ContentText(text=block.text or f"[{block.title}]") for block in item.blocks]
    return ChatMessageUser(id=f"e{logged.id}", content=parts, metadata=about)


def _said(content: Iterable[Mapping[str, Any]]) -> Iterator[ContentText | ContentReasoning]:
    for block in content:
        match block.get("type"):
            case "thinking":
                yield ContentReasoning(
                    reasoning=clean_text(str(block.get("thinking", ""))), signature=block.get("signature")
                )
            case "redacted_thinking":
                yield ContentReasoning(reasoning=str(block.get("data", "")), redacted=True)
            case "text":
                yield ContentText(text=clean_text(str(block.get("text", ""))))
            case "tool_use":
                continue
            case other:
                yield ContentText(text=f"[{clean_text(str(other))}]")


def _told(content: Iterable[Mapping[str, Any]]) -> Iterator[ContentText | ContentImage]:
    for block in content:
        source = block.get("source")
        if block.get("type") == "image" and isinstance(source, Mapping) and source.get("type") == "base64":
            yield ContentImage(image=f"data:{source.get('media_type')};base64,{source.get('data')}")
        else:
            yield ContentText(text=clean_text(str(block.get("text", f"[{block.get('type')}]"))))


def _call(block: Mapping[str, Any]) -> ToolCall:
    given = block.get("input")
    return ToolCall(
        id=str(block.get("id", "")),
        function=clean_text(str(block.get("name", ""))),
        arguments=dict(given) if isinstance(given, Mapping) else {"input": given},
    )


def _score(view: SubmissionView, scrub: Any) -> Score:
    return Score(
        value=view.state if view.mean is None else view.mean,
        answer=scrub(clean_text(view.title)),
        explanation=scrub(clean_text(view.verdict or view.state)),
        metadata={
            "claim": scrub(clean_text(view.claim)),
            "families": list(view.families),
            "status": view.status,
            "standard_error": view.standard_error,
            "low": view.low,
            "high": view.high,
            "seeds": view.seeds,
            "digest": view.digest,
            "parent": view.parent,
        },
    )


def _measured(handed_in: Sequence[SubmissionView]) -> Iterator[EvalScore]:
    for view in handed_in:
        if view.mean is not None:
            metrics = {"score": view.mean, "stderr": view.standard_error or 0.0}
            yield EvalScore(
                name=f"s{view.number}",
                scorer="clean_room",
                metrics={name: EvalMetric(name=name, value=value) for name, value in metrics.items()},
            )


def _usage(spent: Totals) -> ModelUsage:
    tokens = spent.tokens
    return ModelUsage(
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        total_tokens=spent.total_tokens,
        input_tokens_cache_write=tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
        input_tokens_cache_read=tokens.cache_read_tokens,
        total_cost=float(spent.model_usd),
    )


def _output(messages: Sequence[Any], model: str, usage: ModelUsage, events: Sequence[LoggedEvent]) -> ModelOutput:
    for message, logged in zip(reversed(messages), reversed(events), strict=True):
        if isinstance(logged.event, TurnReceived):
            stop = _STOPS.get(logged.event.stop_reason, "unknown")
            choice = ChatCompletionChoice(message=message, stop_reason=stop)
            return ModelOutput(model=model, choices=[choice], usage=usage)
    return ModelOutput(model=model, usage=usage)


def _iso(at: datetime) -> str:
    return at.isoformat()
