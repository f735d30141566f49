"""The summaries printed before a campaign starts and after it ends."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import typer

from aar.budget.totals import read_totals
from aar.campaign.lifecycle import CampaignEnding
from aar.campaign.preflight import CampaignPlan
from aar.cli.output.formatting import clean_line, format_count, format_duration, format_limits, format_money
from aar.cli.output.printing import make_console, to_json_value
from aar.cli.submissions.leaderboard import leaderboard_table
from aar.errors import UsageError
from aar.readmodels.formatting import OFFLINE_LABEL, model_label
from aar.readmodels.submissions.board import read_board

_TOP = 5


def print_start_summary(plan: CampaignPlan) -> None:
    """Print the problem, the team, the limits and the possible spending."""
    out, spec = make_console(), plan.spec
    team = ", ".join(f"{number} on {model_label(model)}" for model, number in Counter(plan.models.models).items())
    out.print(f"problem   {clean_line(plan.problem.title)} ({plan.problem.name})")
    out.print(f"team      {team}; sandboxes by {plan.backend.name}")
    out.print(f"limits    {format_limits(to_json_value(spec.limits.model_dump(exclude_none=True)))}")
    if plan.models.uses_paid_service:
        limit = spec.limits.usd
        said = "no limit in dollars is set" if limit is None else f"at most ${limit}, no call starts that could pass it"
        out.print(f"spending  {said}", style="bold yellow")
        for model in dict.fromkeys(plan.models.models):
            if other := plan.prices.priced_as(model):
                out.print(f"          {model} is priced as {other}; other prices go into the spec, under `prices:`")
        if spec.researchers.base_url is not None:
            out.print("          a server at base_url that reports no usage has each call charged at its worst case")
    else:
        said = "$0 for models"
        if plan.settings.claude_key is None:
            said += f": no ANTHROPIC_API_KEY is set, so the team is the {OFFLINE_LABEL}"
        out.print(f"spending  {said}", style="bold")


def confirm_spending(plan: CampaignPlan, *, yes: bool) -> None:
    """Ask for confirmation before money can be spent, on a terminal.

    Raises:
        typer.Abort: the person declined.
        UsageError: money could be spent without a limit, and the person has not accepted that.
    """
    if yes or not plan.models.uses_paid_service:
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm("Start?", default=True, abort=True)
    elif plan.spec.limits.usd is None:
        raise UsageError(
            "limit in dollars is missing: the campaign calls paid models", "Set --usd N, or agree with --yes"
        )


def print_end_summary(plan: CampaignPlan, campaign_id: str, ending: CampaignEnding, report: Path) -> None:
    """Print the ending, the best submissions, the cost, the report and next commands."""
    out, metric = make_console(), plan.problem.metric
    with plan.database.reading() as session:
        rows = read_board(session, campaign_id, limit=_TOP, higher_is_better=metric.higher_is_better).rows
        spent = read_totals(session, campaign_id).campaign
    out.print()
    out.print(f"campaign {campaign_id} {ending.state}: {clean_line(ending.cause)}", style="bold")
    out.print()
    out.print(leaderboard_table(rows, metric.name) if rows else "No submission was measured.")
    if metric.human_baseline is not None:
        source = f" ({clean_line(metric.human_baseline_source)})" if metric.human_baseline_source else ""
        out.print(f"\nhuman baseline: {metric.name} {metric.human_baseline:.2f}{source}")
    rate = f" ({format_money(spent.usd_per_agent_hour)} per agent-hour)" if spent.usd_per_agent_hour else ""
    worked = format_duration(spent.agent_seconds)
    out.print(
        f"cost: {format_money(spent.usd)}{rate} for {format_count(spent.total_tokens)} tokens and {worked} of work"
    )
    if report.exists():
        out.print(f"report: {report}", soft_wrap=True)
    nexts = [f"aar leaderboard {campaign_id}", f"aar forum list -c {campaign_id}", f"aar serve {campaign_id}"]
    if ending.state in ("paused", "failed"):
        nexts.insert(0, f"aar resume {campaign_id}")
    out.print("next: " + "; ".join(nexts))
