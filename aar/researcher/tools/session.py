"""``budget`` and ``finish``: the remaining budget, and the end of a researcher's work."""

from __future__ import annotations

from aar.budget.limit_checks import LimitUsage
from aar.budget.totals import read_totals
from aar.researcher.tools.definitions import BudgetInput, FinishInput
from aar.researcher.tools.tool import Tool, ToolResult, ToolRun, no_summary
from aar.scoring.submissions.submit import count_submissions


async def _budget(run: ToolRun, given: BudgetInput) -> ToolResult:
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


async def _finish(run: ToolRun, given: FinishInput) -> ToolResult:
    return ToolResult("Your work is finished.")


BUDGET = Tool(run=_budget, about=no_summary)
FINISH = Tool(run=_finish, about=lambda given: given.summary)
