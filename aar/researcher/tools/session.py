"""``wait``, ``budget`` and ``finish``: pauses, the remaining budget, the end of the work.

A wait costs no tokens. A person's message and a clean pause of the campaign end any wait. A wait that a pause cut short
begins again when the campaign resumes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aar.budget.limits import LimitUsage
from aar.budget.totals import read_totals
from aar.errors import UsageError
from aar.forum.news import News, news_since
from aar.researcher.tools.commands import fetch_job_status, job_report
from aar.researcher.tools.definitions import BudgetInput, FinishInput, ToolResult, ToolRun, WaitInput
from aar.scoring.submission_queue import read_queue
from aar.scoring.submissions import count_submissions
from aar.text import parse_submission_number

_NEWS_SECONDS = 3.0
_SLICE_SECONDS = 60.0


async def wait_tool(run: ToolRun, args: WaitInput) -> ToolResult:
    """Wait until what the call names happens, or a person writes."""
    waited = asyncio.ensure_future(_KINDS[args.for_](run, args))
    person = asyncio.ensure_future(_person_writes(run))
    try:
        await run.ctx.unless_stopping(asyncio.wait((waited, person), return_when=asyncio.FIRST_COMPLETED))
        if waited.done():
            return ToolResult(waited.result())
        return ToolResult(f"The wait for {args.for_} ended early: {person.result()}")
    finally:
        waited.cancel()
        person.cancel()
        await asyncio.gather(waited, person, return_exceptions=True)


async def _submission(run: ToolRun, args: WaitInput) -> str:
    if args.id is None:
        raise UsageError("wait for a submission needs its id", "Such as id: s3")
    view = await run.ctx.scorer.wait_for(parse_submission_number(args.id), args.timeout_seconds)
    if view.finished:
        return view.verdict
    ctx = run.ctx
    queue = await ctx.db.read(lambda session: read_queue(session, ctx.campaign_id, parallel=ctx.parallel_runs))
    ahead, seconds = queue.count_ahead(view.number), queue.expected_wait(view.number)
    if ahead is None:
        return f"s{view.number} is still {view.state}."
    about = "" if seconds is None else f", about {max(1, round(seconds))} s"
    return f"s{view.number} is still {view.state}: {ahead} ahead of it{about}."


async def _job(run: ToolRun, args: WaitInput) -> str:
    if args.id is None:
        raise UsageError("wait for a job needs its id", "Use the id from start_job")
    sandbox = await run.ctx.sandbox.current()
    deadline = time.monotonic() + args.timeout_seconds
    while True:
        left = deadline - time.monotonic()
        job = await fetch_job_status(sandbox, args.id, timeout=max(0.0, min(left, _SLICE_SECONDS)))
        if not job.running or left <= _SLICE_SECONDS:
            return await job_report(sandbox, job)


async def _news(run: ToolRun, args: WaitInput) -> str:
    deadline = time.monotonic() + args.timeout_seconds
    while not (await _latest(run)).lines:
        left = deadline - time.monotonic()
        if left <= 0:
            return "No news."
        await asyncio.sleep(min(left, _NEWS_SECONDS))
    return "News: see below."


async def _time(run: ToolRun, args: WaitInput) -> str:
    await asyncio.sleep(args.timeout_seconds)
    return f"{args.timeout_seconds:g} seconds have passed."


_KINDS: dict[str, Callable[[ToolRun, WaitInput], Awaitable[str]]] = {
    "submission": _submission,
    "job": _job,
    "news": _news,
    "time": _time,
}


async def _person_writes(run: ToolRun) -> str:
    while True:
        if (await _latest(run)).human_messages:
            return "a person wrote, see below."
        await asyncio.sleep(_NEWS_SECONDS)


async def _latest(run: ToolRun) -> News:
    ctx = run.ctx
    return await ctx.db.read(lambda session: news_since(session, ctx.campaign_id, ctx.researcher_id, run.news_cursor))


async def budget_tool(run: ToolRun, args: BudgetInput) -> ToolResult:
    """Return the spent and the remaining budget."""
    ctx = run.ctx
    spent = await ctx.db.read(lambda session: read_totals(session, ctx.campaign_id))
    mine = spent.researchers.get(ctx.researcher_id)
    lines = [f"spent ${spent.campaign.usd:.4f}{_of(ctx.ledger.limits.usd)} (campaign)"]
    if mine is not None:
        own = ctx.ledger.limits.researcher
        lines.append(f"spent ${mine.usd:.4f}{_of(own.usd)} (you, {mine.calls} turns, {mine.total_tokens} tokens)")
    lines += [_standing(standing) for standing in await ctx.ledger.limit_usages(ctx.researcher_id)]
    handed_in = await ctx.db.read(lambda session: count_submissions(session, ctx.campaign_id))
    own_count = await ctx.db.read(lambda session: count_submissions(session, ctx.campaign_id, ctx.researcher_id))
    most, most_mine = ctx.ledger.limits.submissions, ctx.ledger.limits.researcher.submissions
    lines.append(f"submissions: {handed_in}{_of_count(most)} (campaign), {own_count}{_of_count(most_mine)} (you)")
    return ToolResult("\n".join(lines))


def _of(ceiling: object) -> str:
    return "" if ceiling is None else f" of ${ceiling:.2f}"


def _of_count(ceiling: int | None) -> str:
    return "" if ceiling is None else f" of {ceiling}"


def _standing(standing: LimitUsage) -> str:
    scope = "campaign" if standing.scope == "campaign" else "you"
    return (
        f"{standing.limit} ({scope}): {standing.committed:.6g} of {standing.ceiling:.6g} spent or reserved, "
        f"{standing.left:.6g} left"
    )


async def finish_tool(run: ToolRun, args: FinishInput) -> ToolResult:
    """End the work; the loop reads the summary from the call."""
    return ToolResult("Your work is finished.")
