"""``aar costs``: dollars, tokens and hours of a campaign and its researchers."""

from __future__ import annotations

from aar.budget.limits import Limits
from aar.budget.totals import CampaignTotals, Totals, read_totals
from aar.campaign.costs import Forecast, forecast_budget
from aar.campaign.views import ResearcherView, list_researchers
from aar.cli.context import LATEST, CampaignId, open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, to_json_value
from aar.readmodels.alerts import list_usage_doubts
from aar.readmodels.formatting import (
    PUBLIC_USD_PER_AGENT_HOUR,
    format_duration,
    format_hourly_rate,
    format_money,
    format_short_count,
    model_label,
)
from aar.text import clean_line


def costs(campaign: CampaignId = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show dollars, tokens by kind and hours worked.

    For the campaign and for each researcher, from the ledger. Calls that a crash interrupted count at their worst case.
    """
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.reading() as session:
            spent = read_totals(session, view.id)
            limits = Limits.model_validate(view.spec.get("limits", {}))
            forecast = forecast_budget(session, view.id, limits)
            team = list_researchers(session, view.id)
            doubts = list_usage_doubts(session, view.id)
    if json:
        print_json(
            {
                "campaign_id": view.id,
                "limits": view.spec.get("limits", {}),
                "forecast": to_json_value(forecast),
                "usage_doubts": to_json_value(doubts),
                "campaign": _json(spent.campaign),
                "researchers": {key: _json(each) for key, each in spent.researchers.items()},
            }
        )
        return
    _print(spent, team, limits)
    for doubt in doubts:
        whose = f" ({', '.join(doubt.researchers)})" if doubt.researchers else ""
        make_console().print(f"charged at the worst case: {doubt.cause}{whose}", style="yellow")
    if view.state in ("created", "running", "paused"):
        _print_forecast(forecast)


def _json(each: Totals) -> dict[str, object]:
    return {
        **to_json_value(each),
        "total_tokens": each.total_tokens,
        "usd_per_agent_hour": format_hourly_rate(each.usd_per_agent_hour),
    }


def _print(spent: CampaignTotals, team: list[ResearcherView], limits: Limits) -> None:
    numbers = ("$", "$/agent-hour", "worked", "calls", "input", "cache write", "cache read", "output", "core time")
    table = make_table("", "model", *numbers, right=numbers)

    def add(name: str, model: str, each: Totals, style: str = "") -> None:
        table.add_row(
            name,
            model,
            format_money(each.usd),
            format_money(each.usd_per_agent_hour),
            format_duration(each.agent_seconds),
            str(each.calls),
            format_short_count(each.tokens.input_tokens),
            format_short_count(each.tokens.cache_write_5m_tokens + each.tokens.cache_write_1h_tokens),
            format_short_count(each.tokens.cache_read_tokens),
            format_short_count(each.tokens.output_tokens),
            format_duration(each.core_seconds),
            style=style,
        )

    for researcher in team:
        add(clean_line(researcher.name), model_label(researcher.model), spent.researchers[researcher.id])
    add("all", "", spent.campaign, style="bold")
    out = make_console()
    out.print(table)
    whole = spent.campaign
    parts = [f"models {format_money(whole.model_usd)}", f"compute {format_money(whole.compute_usd)}"]
    if whole.reserved_usd:
        parts.append(f"{format_money(whole.reserved_usd)} more set aside for what runs now")
    if whole.lost_usd or whole.lost_tokens:
        lost = f"{format_money(whole.lost_usd)} and {format_short_count(whole.lost_tokens)} tokens"
        parts.append(f"{lost} charged for calls a crash cut off")
    parts.append("no limit in dollars" if limits.usd is None else f"limit ${limits.usd}")
    out.print("; ".join(parts))
    rate = (
        "no hours worked yet"
        if whole.usd_per_agent_hour is None
        else f"{format_money(whole.usd_per_agent_hour)} per agent-hour"
    )
    out.print(
        f"{rate}; the public study paid ${PUBLIC_USD_PER_AGENT_HOUR}, GPUs included",
        style="dim",
    )


def _print_forecast(forecast: Forecast) -> None:
    out = make_console()
    if forecast.usd_per_hour is None:
        out.print("too early for a forecast", style="dim")
        return
    text = f"spending {format_money(forecast.usd_per_hour)} an hour recently"
    if forecast.hours_left is None:
        out.print(f"{text}; no limit is near")
    else:
        left = format_duration(forecast.hours_left * 3600)
        out.print(f"{text}; the limit {forecast.limit} is reached in about {left} of running")
