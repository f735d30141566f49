"""``bash``, ``start_job``, ``job_output``, ``stop_job``: runs commands in the sandbox.

The working directory and exported variables persist between calls of ``bash``; jobs outlive their turn.
"""

from __future__ import annotations

from aar.errors import NotFound, UsageError
from aar.researcher.tools.definitions import (
    BashInput,
    JobOutputInput,
    StartJobInput,
    StopJobInput,
    ToolResult,
    ToolRun,
)
from aar.sandbox.protocol import ExecResult, ExitReason, JobStatus, Sandbox

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
_TAIL_BYTES = 4096


async def bash_tool(run: ToolRun, args: BashInput) -> ToolResult:
    """Run a command in the shell of the session, or restart the shell."""
    sandbox = await run.ctx.sandbox.current()
    if args.restart:
        await sandbox.exec(["rm", "-rf", _STATE], timeout=30)
        return ToolResult("The shell was restarted.")
    if args.command is None:
        raise UsageError("bash needs a command", "Give `command`, or `restart: true`")
    if len(args.command.encode()) < _LONGEST_ARGUMENT:
        script, argument = _RUN_ARGUMENT, args.command
    else:
        script, argument = _RUN_FILE, f"{_STATE}-command"
        await sandbox.write(argument, args.command.encode())
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


async def start_job_tool(run: ToolRun, args: StartJobInput) -> ToolResult:
    """Start a job."""
    sandbox = await run.ctx.sandbox.current()
    seconds = min(args.timeout_minutes * 60, run.ctx.job_seconds)
    job = await sandbox.start_job(args.command, timeout=seconds)
    return ToolResult(f"Job {job.job_id} started.\nIt is stopped after {seconds / 60:g} minutes. `wait` for it.")


async def job_output_tool(run: ToolRun, args: JobOutputInput) -> ToolResult:
    """Return a job's state and output."""
    sandbox = await run.ctx.sandbox.current()
    job = await fetch_job_status(sandbox, args.job, timeout=0)
    output = await sandbox.job_output(args.job, limit=1024 * 1024)
    return ToolResult(f"{job_state_line(job)}\n{output}")


async def stop_job_tool(run: ToolRun, args: StopJobInput) -> ToolResult:
    """Stop a job."""
    sandbox = await run.ctx.sandbox.current()
    await fetch_job_status(sandbox, args.job, timeout=0)
    return ToolResult(job_state_line(await sandbox.stop_job(args.job)))


async def fetch_job_status(sandbox: Sandbox, job_id: str, *, timeout: float) -> JobStatus:
    """Return a job once it ended or ``timeout`` seconds passed.

    Raises UsageError with the known jobs.
    """
    try:
        return await sandbox.wait_job(job_id, timeout=timeout)
    except NotFound as error:
        known = ", ".join(job.job_id for job in await sandbox.jobs()) or "none"
        raise UsageError(
            f"unknown job {job_id}", f"Jobs of this sandbox: {known}; jobs end with the sandbox"
        ) from error


def job_state_line(job: JobStatus) -> str:
    """Return the state of a job in one line."""
    if job.running or job.result is None:
        return f"Job {job.job_id} is still running after {job.seconds:.0f} s."
    ends = {
        ExitReason.EXITED: f"exited with code {job.result.code}",
        ExitReason.SIGNALLED: f"was killed by signal {job.result.code - 128}",
        ExitReason.OUT_OF_MEMORY: "was killed: out of memory",
        ExitReason.TIME_LIMIT: "was stopped: time limit",
        ExitReason.STOPPED: "was stopped",
    }
    return f"Job {job.job_id} {ends[job.result.reason]} after {job.seconds:.0f} s."


async def job_report(sandbox: Sandbox, job: JobStatus) -> str:
    """Return a job's state, and the end of its output once it ended."""
    if job.running:
        return job_state_line(job)
    return f"{job_state_line(job)}\n{await sandbox.job_output(job.job_id, limit=_TAIL_BYTES)}"
