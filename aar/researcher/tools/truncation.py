"""Truncates tool results.

The complete text goes to a file of the workspace that the result names.
"""

from __future__ import annotations

import hashlib

from aar.errors import SandboxError, SandboxGone
from aar.llm.response.tool_calls import ToolCall
from aar.researcher.context import ResearcherContext
from aar.researcher.tools.tool import ToolResult
from aar.text.characters import make_storable

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
