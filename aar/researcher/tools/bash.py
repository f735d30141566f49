"""``bash``: runs commands in the sandbox.

The working directory and exported variables persist between calls.
"""

from __future__ import annotations

from aar.errors import UsageError
from aar.researcher.tools.definitions import BashInput
from aar.researcher.tools.tool import Tool, ToolResult, ToolRun
from aar.sandbox.protocol import ExecResult, ExitReason

_STATE = "/tmp/.aar-shell"  # noqa: S108 - inside the sandbox
_LONGEST_ARGUMENT = 100_000
OUTPUT_LIMIT = 1024 * 1024

# Each call is its own process tree, so that its time limit kills all of it and nothing else. The state of a session is
# saved when the call ends in any way except a kill.
_SESSION = r"""
__aar=%(state)s
if [ -r "$__aar/env" ]; then unset $(compgen -e); . "$__aar/env"; fi
{ [ -r "$__aar/cwd" ] && cd -- "$(cat "$__aar/cwd")"; } 2>/dev/null || cd /workspace
__aar_save() { mkdir -p "$__aar" && export -p > "$__aar/env" && pwd > "$__aar/cwd"; } 2>/dev/null
trap '__aar_code=$?; __aar_save; exit $__aar_code' EXIT
%(run)s
""" % {"state": _STATE, "run": "%s"}  # noqa: UP031 - braces belong to bash here
_RUN_ARGUMENT = _SESSION % 'eval "$1"'
_RUN_FILE = _SESSION % '. "$1"'


async def _run(run: ToolRun, given: BashInput) -> ToolResult:
    sandbox = await run.ctx.sandbox.current()
    if given.restart:
        await sandbox.exec(["rm", "-rf", _STATE], timeout=30)
        return ToolResult("The shell was restarted.")
    if given.command is None:
        raise UsageError("bash needs a command", "Give `command`, or `restart: true`")
    if len(given.command.encode()) < _LONGEST_ARGUMENT:
        script, argument = _RUN_ARGUMENT, given.command
    else:
        script, argument = _RUN_FILE, f"{_STATE}-command"
        await sandbox.write(argument, given.command.encode())
    result = await sandbox.exec(
        ["bash", "-c", script, "bash", argument], timeout=run.ctx.command_seconds, output_limit=OUTPUT_LIMIT
    )
    return ToolResult(describe_result(result, run.ctx.command_seconds), is_error=result.reason is not ExitReason.EXITED)


def describe_result(result: ExecResult, limit: float) -> str:
    """Return a command's output and, if it did not simply succeed, its ending."""
    ends = {
        ExitReason.EXITED: "" if result.code == 0 else f"[exit code {result.code}]",
        ExitReason.SIGNALLED: f"[killed by signal {result.code - 128}]",
        ExitReason.OUT_OF_MEMORY: "[killed: out of memory]",
        ExitReason.TIME_LIMIT: f"[stopped after {limit:.0f} s: time limit of a foreground command; use start_job]",
        ExitReason.STOPPED: "[stopped]",
    }
    dropped = f"[{result.dropped_bytes} bytes were dropped from the middle]" if result.dropped_bytes else ""
    parts = [result.output.rstrip("\n"), dropped, ends[result.reason]]
    return "\n".join(part for part in parts if part) or "(no output)"


BASH = Tool(
    run=_run,
    about=lambda given: "restart" if given.restart else given.command or "",
    repeatable=lambda given: given.restart,
)
