"""``aar status``, and the dashboard that it and the live view of ``aar start`` draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aar.budget.totals import Totals
from aar.campaign.running_time import read_running_time
from aar.cli.context import LATEST, CampaignId, open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import ResponsiveTable, make_console, print_json, to_json_value
from aar.readmodels.alerts import Alert
from aar.readmodels.campaign_overview import CampaignOverview, ResearcherRow, read_overview
from aar.readmodels.formatting import (
    OFFLINE_LABEL,
    format_ago,
    format_datetime,
    format_duration,
    format_hourly_rate,
    format_limits,
    format_money,
    format_score,
    format_short_count,
    format_signed,
    is_offline,
)
from aar.readmodels.leaderboard import BoardRow
from aar.scoring.submission_queue import QueueState
from aar.text import clean_line, shorten

_BAR = 30
_OTHER_LINES = 21
_SHOWN_WAITING = 3
_SHOWN_ALERTS = 5
_ALERT_LENGTH = 220
_NARROW = 70
"""A screen with fewer columns has no room for a frame and bars."""
_STATE_STYLES = {"running": "green", "waiting": "cyan", "failed": "red", "paused": "yellow", "finished": "dim"}


def status(campaign: CampaignId = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show the state of a campaign and its team.

    The team, the best score against the human baseline, idea diversity, cost, limits and the newest posts.
    """
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.reading() as session:
            overview = read_overview(session, view.id)
            seconds = read_running_time(session, view.id).seconds
    if json:
        print_json({**_overview_json(overview), "seconds_run": round(seconds, 3)})
        return

    hint = f"aar resume {view.id}" if view.resumable else ""
    make_console().print(render_dashboard(overview, seconds=seconds, hint=f"Resume with: {hint}" if hint else ""))


def _overview_json(overview: CampaignOverview) -> dict[str, Any]:
    """Return the documented JSON of ``aar status --json``."""
    campaign = to_json_value(overview.campaign)
    del campaign["spec"]  # the seed and a database's password stand there
    return {
        **campaign,
        "limits": overview.limits,
        "offline": overview.offline,
        "metric": to_json_value(overview.metric),
        "best": to_json_value(overview.best.submission) if overview.best else None,
        "measured": overview.measured,
        "diversity_bits": round(overview.bits, 4),
        "vendi": overview.vendi,
        "spent": _spent(overview.spent),
        "researchers": [
            {
                **to_json_value(row.researcher),
                "best": to_json_value(row.best.submission) if row.best else None,
                "spent": _spent(row.spent),
            }
            for row in overview.rows
        ],
        "newest_posts": to_json_value(overview.posts),
        "alerts": to_json_value(overview.alerts),
        "queue": {
            "scoring": list(overview.queue.scoring),
            "waiting": [
                {"number": number, "expected_wait_seconds": overview.queue.expected_wait(number)}
                for number in overview.queue.waiting
            ],
        },
    }


def _spent(each: Totals) -> dict[str, Any]:
    return {
        "usd": to_json_value(each.usd),
        "reserved_usd": to_json_value(each.reserved_usd),
        "total_tokens": each.total_tokens,
        "calls": each.calls,
        "agent_seconds": each.agent_seconds,
        "core_seconds": each.core_seconds,
        "usd_per_agent_hour": format_hourly_rate(each.usd_per_agent_hour),
    }


def render_dashboard(
    overview: CampaignOverview, *, seconds: float, hint: str = "", height: int | None = None
) -> RenderableType:
    """Render the whole dashboard.

    Args:
        overview: what to draw.
        seconds: that the campaign has run, pauses not counted.
        hint: the person's next command.
        height: lines of the screen; a larger team is cut short. None shows all researchers.
    """
    extra = _OTHER_LINES + len(overview.posts) + len(overview.alerts[: _SHOWN_ALERTS + 1])
    most = len(overview.rows) if height is None else max(height - extra, 3)
    parts: list[RenderableType] = [_head(overview, seconds), Text(), _team(overview, most), Text(), _gauges(overview)]
    if overview.alerts:
        parts += [Text(), *_alerts(overview.alerts)]
    if overview.posts:
        parts += [Text(), _forum(overview)]
    if hint:
        parts += [Text(), Text(hint, style="dim")]
    return _Framed(Group(*parts))


@dataclass(frozen=True, slots=True)
class _Framed:
    """A frame around content where the screen is wide enough."""

    inside: RenderableType

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        narrow = options.max_width < _NARROW
        yield self.inside if narrow else Panel(self.inside, box=box.ROUNDED, border_style="dim", padding=(0, 1))


class _Gauges(Table):
    """A table of name, bar and text; on a narrow screen one below another, without bars."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width >= _NARROW:
            yield from super().__rich_console__(console, options)
            return
        names, _, words = (list(column.cells) for column in self.columns)
        for name, text in zip(names, words, strict=True):
            yield Text.assemble((f"{name} ", "dim"), str(text), overflow="fold")


def _head(overview: CampaignOverview, seconds: float) -> Text:
    campaign = overview.campaign
    head = Text.assemble((f"{campaign.id} ", "bold"), clean_line(campaign.name), overflow="fold")
    head.append(f"  on {clean_line(campaign.problem)}  ")
    lost = campaign.controller == "lost"
    head.append(campaign.state_text(format_datetime), "red" if lost else _STATE_STYLES.get(campaign.state, ""))
    if campaign.cause:
        head.append(f" ({clean_line(campaign.cause)})")
    head.append(f"  {format_duration(seconds)}", "bold")
    if campaign.sandbox:
        head.append(f"  sandboxes: {clean_line(campaign.sandbox)}", "dim")
    if campaign.address:
        head.append(f"\n{clean_line(campaign.address)}", "cyan underline")
    if overview.offline:
        head.append(f"\nresearchers marked * are the {OFFLINE_LABEL}; their tokens cost $0", "yellow")
    return head


def _team(overview: CampaignOverview, most: int) -> Table:
    table = ResponsiveTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", expand=True)
    for name in ("", "direction", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("doing", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in (f"best {overview.metric_name}", "tokens", "$", "$/agent-h"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in overview.rows[:most]:
        table.add_row(*_cells(row))
    if len(overview.rows) > most:
        table.add_row("…", f"and {len(overview.rows) - most} more", style="dim")
    whole = overview.spent
    table.add_section()
    table.add_row(
        "all",
        "",
        "",
        f"{overview.measured} measured",
        format_score(overview.best.submission.mean if overview.best else None),
        format_short_count(whole.total_tokens),
        format_money(whole.usd),
        format_money(whole.usd_per_agent_hour),
        style="bold",
    )
    return table


def _cells(row: ResearcherRow) -> list[Text]:
    who, best = row.researcher, row.best
    star = "*" if is_offline(who.model) else ""
    cells = (
        clean_line(who.name) + star,
        shorten(who.direction_key, 26),
        who.state,
        shorten(who.doing or who.cause, 200),
        format_score(best.submission.mean, best.submission.standard_error) if best else "–",
        format_short_count(row.spent.total_tokens),
        format_money(row.spent.usd),
        format_money(row.spent.usd_per_agent_hour),
    )
    return [
        Text(cell, style=_STATE_STYLES.get(who.state, "") if place == 2 else "") for place, cell in enumerate(cells)
    ]


def _gauges(overview: CampaignOverview) -> Table:
    grid = _Gauges.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    metric, leader = overview.metric, overview.best
    if metric is not None and leader is not None and leader.submission.mean is not None:
        mean = leader.submission.mean
        text = (
            f"{format_score(mean, leader.submission.standard_error)} by {clean_line(leader.submission.researcher_name)}"
        )
        text += f" (s{leader.submission.number}, {_trust(leader)})"
        marks = {} if metric.human_baseline is None else {metric.human_baseline / metric.ceiling: "┃"}
        if metric.human_baseline is not None:
            text += f"; human baseline {metric.human_baseline:.2f} at ┃"
        grid.add_row(f"best {metric.name}", _bar(mean / metric.ceiling, marks, "green"), text)
    elif metric is not None:
        human = "" if metric.human_baseline is None else f"; the human baseline is {metric.human_baseline:.2f}"
        grid.add_row(f"best {metric.name}", _bar(0, {}, "green"), f"nothing measured yet{human}")
    share = overview.bits / overview.most_bits if overview.most_bits else 0.0
    text = f"{overview.bits:.2f} of {overview.most_bits:.2f} bits"
    if len(overview.rows) > 1 and share < 0.5:
        text += " – ideas collapse" if overview.bits else " – all follow the same idea"
    if overview.vendi is not None:
        text += f"; Vendi score of the texts {overview.vendi:.1f} of {len(overview.rows)}"
    grid.add_row("idea diversity", _bar(share, {}, "magenta"), text)
    ceiling = overview.limits.get("usd")
    if ceiling is not None and float(ceiling) > 0 and not _free(overview):
        used = float(overview.spent.usd + overview.spent.reserved_usd)
        text = f"{format_money(overview.spent.usd)} of ${ceiling}"
        if overview.spent.reserved_usd:
            text += f", {format_money(overview.spent.reserved_usd)} set aside"
        grid.add_row("spent", _bar(used / float(ceiling), {}, "yellow"), text)
    if overview.queue.scoring or overview.queue.waiting:
        grid.add_row("scoring", "", _queue(overview.queue))
    grid.add_row("limits", "", format_limits(overview.limits))
    return grid


def _alerts(every: Sequence[Alert]) -> list[Text]:
    lines = []
    for each in every[:_SHOWN_ALERTS]:
        who = f"{clean_line(each.researcher)}: " if each.researcher and each.kind != "failure" else ""
        times = f" ({each.count} times)" if each.count > 1 else ""
        text = f"! {who}{shorten(each.text, _ALERT_LENGTH)}{times}"
        lines.append(Text(text, style="red" if each.grave else "yellow", overflow="fold"))
    if len(every) > _SHOWN_ALERTS:
        lines.append(Text(f"! and {len(every) - _SHOWN_ALERTS} more", style="yellow"))
    return lines


def _trust(leader: BoardRow) -> str:
    if leader.confirmed is None:
        return "not confirmed yet"
    sealed = leader.confirmed.score
    return f"confirmed at {format_score(sealed.mean, sealed.standard_error)}"


def _queue(queue: QueueState) -> str:
    parts = [f"{', '.join(f's{number}' for number in queue.scoring)} under way"] if queue.scoring else []
    for number in queue.waiting[:_SHOWN_WAITING]:
        seconds = queue.expected_wait(number)
        parts.append(f"s{number} waits" + (f" about {format_duration(seconds)}" if seconds else ""))
    if len(queue.waiting) > _SHOWN_WAITING:
        parts.append(f"{len(queue.waiting) - _SHOWN_WAITING} more wait")
    return "; ".join(parts)


def _free(overview: CampaignOverview) -> bool:
    return not overview.spent.usd and not overview.spent.reserved_usd and overview.offline


def _bar(share: float, marks: Mapping[float, str], style: str) -> Text:
    filled = round(min(max(share, 0.0), 1.0) * _BAR)
    bar = Text("█" * filled, style=style)
    bar.append("░" * (_BAR - filled), "dim")
    for at, sign in marks.items():
        place = min(max(int(at * _BAR), 0), _BAR - 1)
        bar = Text.assemble(bar[:place], (sign, "bold red"), bar[place + 1 :])
    return bar


def _forum(overview: CampaignOverview) -> Table:
    grid = ResponsiveTable.grid(padding=(0, 1), expand=True)
    for _ in range(3):
        grid.add_column(no_wrap=True, style="dim")
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for post in overview.posts:
        title = Text(shorten(post.title, 200), style="bold" if post.by_human else "")
        author = f"{clean_line(post.author)} {post.kind}"
        votes = f" {format_signed(post.score)}" if post.score else ""
        replies = f" ({post.comments} comments)" if post.comments else ""
        grid.add_row(
            f"#{post.id}", format_ago(post.created_at, overview.at), author, title + Text(votes + replies, style="dim")
        )
    return grid
