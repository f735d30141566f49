"""``start_job``, ``job_output``, ``stop_job``: commands that outlive their turn."""

from __future__ import annotations

from aar.errors import NotFound, UsageError
from aar.researcher.tools.definitions import JobOutputInput, StartJobInput, StopJobInput
from aar.researcher.tools.tool import Tool, ToolResult, ToolRun
from aar.sandbox.protocol import ExitReason, JobStatus, Sandbox

_TAIL_BYTES = 4096


async def _start(run: ToolRun, given: StartJobInput) -> ToolResult:
    sandbox = await run.ctx.sandbox.current()
    seconds = min(given.timeout_minutes * 60, run.ctx.job_seconds)
    job = await sandbox.start_job(given.command, timeout=seconds)
    return ToolResult(f"Job {job.job_id} started.\nIt is stopped after {seconds / 60:g} minutes. `wait` for it.")


async def _output(run: ToolRun, given: JobOutputInput) -> ToolResult:
    sandbox = await run.ctx.sandbox.current()
    job = await fetch_job_status(sandbox, given.job, timeout=0)
    output = await sandbox.job_output(given.job, limit=1024 * 1024)
    return ToolResult(f"{job_state_line(job)}\n{output}")


async def _stop(run: ToolRun, given: StopJobInput) -> ToolResult:
    sandbox = await run.ctx.sandbox.current()
    await fetch_job_status(sandbox, given.job, timeout=0)
    return ToolResult(job_state_line(await sandbox.stop_job(given.job)))


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


START_JOB = Tool(run=_start, about=lambda given: given.command, repeatable=lambda _: False)
JOB_OUTPUT = Tool(run=_output, about=lambda given: given.job)
STOP_JOB = Tool(run=_stop, about=lambda given: given.job)
