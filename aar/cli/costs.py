"""``aar costs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aar.cli.options import LATEST, CampaignId, DatabaseOption, JsonFlag

if TYPE_CHECKING:
    from aar.budget.totals import CampaignTotals, Totals
    from aar.campaign.views import ResearcherView


def costs(campaign: CampaignId = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show dollars, tokens by kind and hours worked.

    Of the campaign and of each researcher, from the ledger. Worst cases of calls that a crash cut off count as spent.
    """
    from aar.budget.totals import totals
    from aar.campaign.views import list_researchers
    from aar.cli.opening import opened
    from aar.cli.output import print_json

    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            spent = totals(session, view.id)
            team = list_researchers(session, view.id)
    if json:
        print_json(
            {
                "campaign_id": view.id,
                "limits": view.spec.get("limits", {}),
                "campaign": _json(spent.campaign),
                "researchers": {key: _json(each) for key, each in spent.researchers.items()},
            }
        )
        return
    _print(spent, team, view.spec.get("limits", {}))


def _json(each: Totals) -> dict[str, object]:
    from aar.cli.output import plain

    return {
        **plain(each),
        "total_tokens": each.total_tokens,
        "usd_per_agent_hour": f"{each.usd_per_agent_hour:.6f}",
    }


def _print(spent: CampaignTotals, team: list[ResearcherView], limits: dict[str, object]) -> None:
    from aar.cli.output import console, table
    from aar.cli.text import clean_line, count, duration, money
    from aar.report.labels import model_label

    numbers = ("$", "$/agent-hour", "worked", "calls", "input", "cache write", "cache read", "output", "core time")
    made = table("", "model", *numbers, right=numbers)

    def add(name: str, model: str, each: Totals, style: str = "") -> None:
        made.add_row(
            name,
            model,
            money(each.usd),
            money(each.usd_per_agent_hour),
            duration(each.agent_seconds),
            str(each.calls),
            count(each.tokens.input_tokens),
            count(each.tokens.cache_write_5m_tokens + each.tokens.cache_write_1h_tokens),
            count(each.tokens.cache_read_tokens),
            count(each.tokens.output_tokens),
            duration(each.core_seconds),
            style=style,
        )

    for researcher in team:
        add(clean_line(researcher.name), model_label(researcher.model), spent.researchers[researcher.id])
    add("all", "", spent.campaign, style="bold")
    out = console()
    out.print(made)
    whole = spent.campaign
    parts = [f"models {money(whole.model_usd)}", f"compute {money(whole.compute_usd)}"]
    if whole.reserved_usd:
        parts.append(f"{money(whole.reserved_usd)} more set aside for what runs now")
    if whole.lost_usd or whole.lost_tokens:
        parts.append(f"{money(whole.lost_usd)} and {count(whole.lost_tokens)} tokens charged for calls a crash cut off")
    ceiling = limits.get("usd")
    parts.append("no limit in dollars" if ceiling is None else f"limit ${ceiling}")
    out.print("; ".join(parts))
