"""Executes the tool calls of a turn: checks, logs, runs once, logs results.

The start of the first one is logged with the turn itself, and each result with the next logged event. The complete
text of a truncated result goes to a file of the workspace that the result names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from aar.errors import AarError, SandboxError, SandboxGone, SetupError, StillInUse, is_transient
from aar.events import ToolFinished
from aar.llm.content import INVALID_INPUT, ToolCall
from aar.researcher.context import ResearcherContext, StopRequested
from aar.researcher.conversation import ConversationLog, open_conversation_log
from aar.researcher.tools.commands import bash_tool, job_output_tool, start_job_tool, stop_job_tool
from aar.researcher.tools.definitions import EDITOR, INPUTS, ToolInput, ToolResult, ToolRun, tool_started
from aar.researcher.tools.editor import editor_tool
from aar.researcher.tools.forum import claim_tool, comment_tool, edit_post_tool, post_tool, vote_tool
from aar.researcher.tools.methods import fetch_snapshot_tool, leaderboard_tool, submit_method_tool
from aar.researcher.tools.session import budget_tool, finish_tool, wait_tool
from aar.text import make_storable

logger = structlog.get_logger(__name__)

TOOLS: Mapping[str, Callable[[ToolRun, Any], Awaitable[ToolResult]]] = {
    "bash": bash_tool,
    EDITOR: editor_tool,
    "start_job": start_job_tool,
    "wait": wait_tool,
    "job_output": job_output_tool,
    "stop_job": stop_job_tool,
    "submit_method": submit_method_tool,
    "leaderboard": leaderboard_tool,
    "post": post_tool,
    "comment": comment_tool,
    "vote": vote_tool,
    "edit_post": edit_post_tool,
    "claim": claim_tool,
    "fetch_snapshot": fetch_snapshot_tool,
    "budget": budget_tool,
    "finish": finish_tool,
}
"""Runs each tool. A wrong input or a failed service is an ``AarError``, whose text the model reads."""

CUT_OFF = "This call was cut off by the length limit of a turn and did not run. Write less in one turn."
UNREADABLE = (
    "Invalid input for {tool}: it is not one JSON object, so the call did not run. Send plain JSON: no NaN or "
    "Infinity, nothing nested deeper than 64 levels, at most a million characters."
)
UNKNOWN_EFFECT = "The controller restarted while this ran; its effect is unknown. Check before you repeat it."
SANDBOX_LOST = (
    "The sandbox was lost and replaced ({cause}). /workspace is as it was; running jobs, the shell's state and /tmp "
    "are gone. Whether this call had an effect is unknown."
)
TOOL_BROKE = "This call broke the tool ({cause}). Whether it had an effect is unknown. Check, then try another way."
RESULT_CHARACTERS = 16_000
_HEAD, _TAIL = 6_000, 9_000
DIRECTORY = "/workspace/.aar/results"


async def execute_calls(ctx: ResearcherContext, log: ConversationLog) -> bool:
    """Answer every pending call of the last turn, one after another.

    Later calls may depend on earlier ones.

    Returns:
        Whether any of them succeeded.

    Raises:
        StopRequested: a pause was requested; the next start continues with the unanswered calls.
        SetupError: no sandbox is available. Any other error of a tool is its answer.
        OSError: this machine is out of descriptors, memory or disk, for a while.
    """
    succeeded = False
    for call in log.conversation.pending_calls:
        if ctx.stopping.is_set() and call.id not in log.announced:
            break
        succeeded |= await _answer(ctx, log, call)
    return succeeded


async def answer_interrupted_calls(ctx: ResearcherContext, cause: str) -> None:
    """Answer the calls that had begun when the loop died.

    So none runs again and ends the next loop too.

    Args:
        cause: the kind of error that the loop died of.
    """
    log = await open_conversation_log(ctx.db, ctx.campaign_id, ctx.researcher_id)
    for call in [call for call in log.conversation.pending_calls if call.interrupted]:
        await log.record(_finished(call, ToolResult(TOOL_BROKE.format(cause=cause), is_error=True), 0.0))


async def _answer(ctx: ResearcherContext, log: ConversationLog, call: ToolCall) -> bool:
    started = time.monotonic()
    try:
        result = await _result(ctx, log, call)
    except (SetupError, StopRequested):
        raise
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("a tool broke", researcher=ctx.researcher_id, tool=call.name)
        result = ToolResult(_describe_error(call, error), is_error=True)
    log.buffer(_finished(call, result, time.monotonic() - started))
    return not result.is_error


def _finished(call: ToolCall, result: ToolResult, seconds: float) -> ToolFinished:
    return ToolFinished(
        tool_use_id=call.id,
        tool=call.name,
        content=[{"type": "text", "text": result.text}, *(dict(image) for image in result.images)],
        is_error=result.is_error,
        seconds=seconds,
    )


def _describe_error(call: ToolCall, error: Exception) -> str:
    """Return an error's text for the model.

    The error's own text may contain paths of the host.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{call.name} failed: {error.strerror}"
    return TOOL_BROKE.format(cause=type(error).__name__)


async def _result(ctx: ResearcherContext, log: ConversationLog, call: ToolCall) -> ToolResult:
    repeated = call.interrupted and call.id not in log.announced
    log.announced.discard(call.id)
    if call.cut_off:
        return ToolResult(CUT_OFF, is_error=True)
    if call.name not in TOOLS:
        return ToolResult(f"Unknown tool {call.name[:64]!r}. Tools: {', '.join(TOOLS)}.", is_error=True)
    if isinstance(call.input, dict) and INVALID_INPUT in call.input:
        return ToolResult(UNREADABLE.format(tool=call.name), is_error=True)
    try:
        args = INPUTS[call.name].model_validate(call.input)
    except ValidationError as error:
        return ToolResult(f"Invalid input for {call.name}: {_complaints(error)}", is_error=True)
    if repeated and not args.repeatable:
        return ToolResult(UNKNOWN_EFFECT, is_error=True)
    if not call.interrupted:
        await log.record(tool_started(call, args))
    run = ToolRun(ctx, call.key, repeated, log.news_seen)
    return await _run_tool(run, args, call)


async def _run_tool(run: ToolRun, args: ToolInput, call: ToolCall) -> ToolResult:
    try:
        result = await TOOLS[call.name](run, args)
        return await truncate_result(run.ctx, call, result)
    except SandboxGone as error:
        await run.ctx.sandbox.lost(error.message)
        return ToolResult(SANDBOX_LOST.format(cause=error.message), is_error=True)
    except (SetupError, StillInUse):
        raise
    except AarError as error:
        return ToolResult(str(error), is_error=True)


def _complaints(error: ValidationError) -> str:
    complaints: Sequence[str] = [
        f"{'.'.join(str(part) for part in each['loc']) or 'input'}: {each['msg']}" for each in error.errors()[:5]
    ]
    return "; ".join(complaints)


async def truncate_result(ctx: ResearcherContext, call: ToolCall, result: ToolResult) -> ToolResult:
    """Return the result for the model.

    It reports if the workspace cannot store the complete text.

    Raises:
        SandboxGone: the sandbox ended meanwhile.
    """
    text = make_storable(result.text) or "(empty)"
    if len(text) <= RESULT_CHARACTERS:
        return ToolResult(text, result.is_error, result.images)
    name = f"{DIRECTORY}/{call.name}-{hashlib.sha256(call.key.encode()).hexdigest()[:10]}.txt"
    sandbox = await ctx.sandbox.current()
    try:
        await sandbox.write(name, f"{text}\n".encode())
        where = f"the complete text is in {name}"
    except SandboxGone:
        raise
    except OSError as error:
        where = f"the complete text could not be stored in {name}: {error.strerror}"
    except SandboxError as error:
        where = f"the complete text could not be stored: {error.message}"
    left_out = len(text) - _HEAD - _TAIL
    cut = f"\n[... {left_out} characters left out; {where} ...]\n"
    return ToolResult(text[:_HEAD] + cut + text[-_TAIL:], result.is_error, result.images)
