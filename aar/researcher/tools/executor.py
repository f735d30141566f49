"""Executes the tool calls of a turn: checks, logs, runs once, logs results.

The start of the first one is logged with the turn itself, and each result with the next logged event. The complete
text of a truncated result goes to a file of the workspace that the result names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence

import structlog
from pydantic import ValidationError

from aar.errors import AarError, SandboxError, SandboxGone, SetupError, StillInUse, is_transient
from aar.events import ToolFinished, ToolStarted, TurnReceived
from aar.llm.content import INVALID_INPUT, ToolCall, tool_calls_of
from aar.researcher.context import ResearcherContext, StopRequested
from aar.researcher.conversation import ConversationLog, open_conversation_log
from aar.researcher.tools.commands import BASH, JOB_OUTPUT, START_JOB, STOP_JOB
from aar.researcher.tools.definitions import EDITOR, INPUTS, Tool, ToolInput, ToolResult, ToolRun, one_line
from aar.researcher.tools.editor import EDITOR_TOOL
from aar.researcher.tools.forum import CLAIM, COMMENT, EDIT_POST, POST, VOTE
from aar.researcher.tools.methods import FETCH_SNAPSHOT, LEADERBOARD, SUBMIT_METHOD
from aar.researcher.tools.session import BUDGET, FINISH, WAIT
from aar.text import make_storable

log = structlog.get_logger(__name__)

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


async def execute_calls(ctx: ResearcherContext, journal: ConversationLog) -> bool:
    """Answer every pending call of the last turn, one after another.

    Later calls may depend on earlier ones.

    Returns:
        Whether any of them succeeded.

    Raises:
        Stopping: a pause was requested; the next start continues with the unanswered calls.
        SetupError: no sandbox is available. Any other error of a tool is its answer.
        OSError: this machine is out of descriptors, memory or disk, for a while.
    """
    succeeded = False
    for call in journal.conversation.pending_calls:
        if ctx.stopping.is_set() and call.id not in journal.announced:
            break
        succeeded |= await _answer(ctx, journal, call)
    return succeeded


async def answer_interrupted_calls(ctx: ResearcherContext, cause: str) -> None:
    """Answer the calls that had begun when the loop died.

    So none runs again and ends the next loop too.

    Args:
        cause: the kind of error that the loop died of.
    """
    journal = await open_conversation_log(ctx.db, ctx.campaign_id, ctx.researcher_id)
    for call in [call for call in journal.conversation.pending_calls if call.interrupted]:
        await journal.record(_finished(call, ToolResult(TOOL_BROKE.format(cause=cause), is_error=True), 0.0))


def first_tool_started(turn: TurnReceived) -> ToolStarted | None:
    """Return the start event of a turn's first call.

    It is logged with the turn.

    It is None if it will not run.
    """
    for call in tool_calls_of(turn)[:1]:
        if call.cut_off or call.name not in TOOLS:
            return None
        try:
            return _started(call, INPUTS[call.name].model_validate(call.input))
        except ValidationError:
            return None
    return None


def _started(call: ToolCall, given: ToolInput) -> ToolStarted:
    return ToolStarted(tool_use_id=call.id, tool=call.name, about=one_line(TOOLS[call.name].about(given)))


async def _answer(ctx: ResearcherContext, journal: ConversationLog, call: ToolCall) -> bool:
    started = time.monotonic()
    try:
        result = await _result(ctx, journal, call)
    except (SetupError, StopRequested):
        raise
    except Exception as error:
        if is_transient(error):
            raise
        log.exception("a tool broke", researcher=ctx.researcher_id, tool=call.name)
        result = ToolResult(_describe_error(call, error), is_error=True)
    journal.buffer(_finished(call, result, time.monotonic() - started))
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


async def _result(ctx: ResearcherContext, journal: ConversationLog, call: ToolCall) -> ToolResult:
    tool = TOOLS.get(call.name)
    repeated = call.interrupted and call.id not in journal.announced
    journal.announced.discard(call.id)
    if call.cut_off:
        return ToolResult(CUT_OFF, is_error=True)
    if tool is None:
        return ToolResult(f"Unknown tool {call.name[:64]!r}. Tools: {', '.join(TOOLS)}.", is_error=True)
    if isinstance(call.input, dict) and INVALID_INPUT in call.input:
        return ToolResult(UNREADABLE.format(tool=call.name), is_error=True)
    try:
        given = INPUTS[call.name].model_validate(call.input)
    except ValidationError as error:
        return ToolResult(f"Invalid input for {call.name}: {_complaints(error)}", is_error=True)
    if repeated and not tool.repeatable(given):
        return ToolResult(UNKNOWN_EFFECT, is_error=True)
    if not call.interrupted:
        await journal.record(_started(call, given))
    run = ToolRun(ctx, call.key, repeated, journal.news_seen)
    return await _run_tool(run, tool, given, call)


async def _run_tool(run: ToolRun, tool: Tool, given: ToolInput, call: ToolCall) -> ToolResult:
    try:
        result = await tool.run(run, given)
        return await truncate_result(run.ctx, call, result)
    except SandboxGone as error:
        await run.ctx.sandbox.lost(error.message)
        return ToolResult(SANDBOX_LOST.format(cause=error.message), is_error=True)
    except (SetupError, StillInUse):
        raise
    except AarError as error:
        return ToolResult(str(error), is_error=True)


def _complaints(error: ValidationError) -> str:
    found: Sequence[str] = [
        f"{'.'.join(str(part) for part in each['loc']) or 'input'}: {each['msg']}" for each in error.errors()[:5]
    ]
    return "; ".join(found)


TOOLS: Mapping[str, Tool] = {
    "bash": BASH,
    EDITOR: EDITOR_TOOL,
    "start_job": START_JOB,
    "wait": WAIT,
    "job_output": JOB_OUTPUT,
    "stop_job": STOP_JOB,
    "submit_method": SUBMIT_METHOD,
    "leaderboard": LEADERBOARD,
    "post": POST,
    "comment": COMMENT,
    "vote": VOTE,
    "edit_post": EDIT_POST,
    "claim": CLAIM,
    "fetch_snapshot": FETCH_SNAPSHOT,
    "budget": BUDGET,
    "finish": FINISH,
}


RESULT_CHARACTERS = 16_000
_HEAD, _TAIL = 6_000, 9_000
DIRECTORY = "/workspace/.aar/results"


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
