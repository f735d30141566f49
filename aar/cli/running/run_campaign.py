"""Run a campaign from a terminal: summaries, a view, a page process, signals, the report at the end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import structlog
import typer
from sqlalchemy.orm import Session

from aar.auth.sessions import open_sessions
from aar.budget.totals import read_totals
from aar.campaign.controller.controller import CampaignCompanion, Controller
from aar.campaign.controller_lock import reserve_campaign
from aar.campaign.lifecycle import CampaignEnding, create_campaign, save_changed_spec
from aar.campaign.preflight import CampaignPlan, run_preflight
from aar.campaign.spec import CampaignSpec
from aar.cli.context import login_line, login_name
from aar.cli.output.log_setup import configure_logging
from aar.cli.output.printing import make_console, to_json_value
from aar.cli.output.streams import detach_terminal
from aar.cli.running.page_process import serve_pages
from aar.cli.running.views import live_view, plain_view
from aar.cli.submissions import leaderboard_table
from aar.concurrency import best_effort, log_failure
from aar.errors import UsageError
from aar.processes import raise_open_file_limit
from aar.readmodels.formatting import (
    OFFLINE_LABEL,
    format_duration,
    format_limits,
    format_money,
    format_short_count,
    model_label,
)
from aar.readmodels.leaderboard import read_board
from aar.report.html_report import write_report
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore
from aar.text import clean_line
from aar.web.listen_address import bind_listener, page_address

log = structlog.get_logger(__name__)

_Prepare = Callable[[CampaignPlan], Awaitable[str]]
_DEFAULT_PORT = CampaignSpec().serve.port
_CLOSE_SECONDS = 30.0
_TOP = 5


@dataclass(frozen=True, slots=True)
class _RunOptions:
    """The options of a run.

    ``plain`` prints lines instead of the live view, ``yes`` answers every question, ``any_port`` takes any free
    port.
    """

    plain: bool
    yes: bool
    any_port: bool


def run_new_campaign(spec: CampaignSpec, *, plain: bool, yes: bool, any_port: bool) -> int:
    """Create a campaign, run it to its end or pause, return the exit code.

    Args:
        plain: print one line an event; also done where standard output is no terminal.
        yes: ask nothing.
        any_port: whether a taken default port may be replaced by a following one.
    """

    def create(session: Session, plan: CampaignPlan) -> str:
        campaign_id = create_campaign(session, plan)
        reserve_campaign(session, campaign_id)  # so that it is visible as being started
        return campaign_id

    async def prepare(plan: CampaignPlan) -> str:
        return await plan.database.write(lambda session: create(session, plan))

    return asyncio.run(_run(spec, prepare, _RunOptions(_is_plain(plain), yes, any_port)))


def resume_campaign(
    campaign_id: str, spec: CampaignSpec, overrides: Mapping[str, Any], *, plain: bool, yes: bool, any_port: bool
) -> int:
    """Take an earlier campaign up again with this spec, which overrides changed; otherwise like
    ``run_new_campaign``.
    """

    async def prepare(plan: CampaignPlan) -> str:
        await plan.database.write(lambda session: save_changed_spec(session, campaign_id, overrides))
        return campaign_id

    return asyncio.run(_run(spec, prepare, _RunOptions(_is_plain(plain), yes, any_port)))


async def _run(spec: CampaignSpec, prepare: _Prepare, options: _RunOptions) -> int:
    raise_open_file_limit()
    with ExitStack() as closing:
        listener = _listen(spec, options, closing)
        plan = await run_preflight(spec, get_settings())
        closing.callback(plan.database.close)
        print_start_summary(plan)
        try:
            confirm_spending(plan, yes=options.yes)
            campaign_id = await prepare(plan)
        except BaseException:
            await plan.backend.close()
            raise
        log = None if options.plain else plan.settings.campaign_dir(campaign_id) / "controller.log"
        closing.enter_context(configure_logging(log, plan.settings.log_level))
        ending = await _run_with_view(plan, campaign_id, listener, options)
        print_end_summary(plan, campaign_id, ending, plan.settings.report_path(campaign_id))
        return 1 if ending.state == "failed" else 0


async def _run_with_view(
    plan: CampaignPlan, campaign_id: str, listener: socket.socket | None, options: _RunOptions
) -> CampaignEnding:
    companions: list[CampaignCompanion] = [plain_view if options.plain else live_view]
    address = ""
    if listener is not None:
        host = plan.spec.serve.host
        address = page_address(listener, host)
        companions.append(serve_pages(host, listener))
    text = f"campaign {campaign_id}" + (f", pages at {address}" if address else "")
    make_console().print(text + "; Ctrl-C pauses it", style="" if options.plain else "bold")
    if address:  # to the terminal alone, never to a log
        link = open_sessions(plan.settings.home).create_link("operator", login_name())
        make_console().print(login_line(address, link), soft_wrap=True, highlight=False)
    return await run_campaign(plan, campaign_id, address=address, companions=companions, on_hangup=detach_terminal)


def _listen(spec: CampaignSpec, options: _RunOptions, closing: ExitStack) -> socket.socket | None:
    """Bind the address before anything is started, so that a taken port costs nothing."""
    if not spec.serve.enabled:
        return None
    any_port = options.any_port and spec.serve.port == _DEFAULT_PORT
    return closing.enter_context(bind_listener(spec.serve.host, spec.serve.port, next_free=any_port))


def _is_plain(plain: bool) -> bool:
    return plain or not sys.stdout.isatty()


async def run_campaign(
    plan: CampaignPlan,
    campaign_id: str,
    *,
    address: str = "",
    companions: Sequence[CampaignCompanion] = (),
    on_hangup: Callable[[], None] = lambda: None,
) -> CampaignEnding:
    """Run a created campaign to its end in this process, and write its report.

    The first SIGINT or SIGTERM pauses it cleanly, a second one ends it at once; after either, ``aar resume`` continues
    it. A hangup of the terminal also pauses it, however often it is signalled, unless hangups are ignored (nohup).

    Args:
        plan: what it needs, from ``preflight.run_preflight``.
        campaign_id: from ``creation.create_campaign``, or an earlier campaign to resume.
        address: where ``companions`` serve its pages, for people.
        companions: run beside the campaign until it ends, such as a live view or a web server.
        on_hangup: detaches from the terminal when that hangs up.

    Raises:
        Conflict: another controller runs it, or it is over.
        AarError: something broke that no researcher can go on without; the campaign is paused.
    """
    controller = Controller(plan, campaign_id, address=address)
    try:
        with _signals(controller, on_hangup):
            ending = await controller.run(companions)
        await anyio.to_thread.run_sync(_report, plan, campaign_id)
        return ending
    finally:
        await best_effort(
            plan.backend.close(), log_failure("the sandbox backend could not be closed"), seconds=_CLOSE_SECONDS
        )


def _report(plan: CampaignPlan, campaign_id: str) -> None:
    """Write the report; a failure does not change how the campaign ended."""
    snapshots = SnapshotStore(plan.settings.campaign_dir(campaign_id) / "snapshots")
    try:
        write_report(plan.database, campaign_id, plan.settings.report_path(campaign_id), snapshots=snapshots)
    except Exception:
        log.exception("the report could not be written; write it with: aar report", campaign=campaign_id)


@contextmanager
def _signals(controller: Controller, on_hangup: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    interrupts, hung_up = 0, False

    def interrupt(name: str) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            controller.stop.pause(f"paused by {name}")
        else:
            controller.abort()

    def hang_up() -> None:  # a shell and the kernel may both signal it
        nonlocal hung_up
        hung_up = True
        on_hangup()
        controller.stop.pause("paused by a hangup of the terminal")

    names = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
    for number, name in names.items():
        loop.add_signal_handler(number, interrupt, name)
    handles_hangup = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    if handles_hangup:
        loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number in names:
            loop.remove_signal_handler(number)
        if handles_hangup:
            loop.remove_signal_handler(signal.SIGHUP)
        if hung_up:  # a second signal must not stop what is left to do, such as the report
            signal.signal(signal.SIGHUP, signal.SIG_IGN)


def print_start_summary(plan: CampaignPlan) -> None:
    """Print the problem, the team, the limits and the possible spending."""
    out, spec = make_console(), plan.spec
    team = ", ".join(f"{number} on {model_label(model)}" for model, number in Counter(plan.models.models).items())
    out.print(f"problem   {clean_line(plan.problem.title)} ({plan.problem.name})")
    out.print(f"team      {team}; sandboxes by {plan.backend.name}")
    out.print(f"limits    {format_limits(to_json_value(spec.limits.model_dump(exclude_none=True)))}")
    if plan.models.uses_paid_service:
        limit = spec.limits.usd
        text = "no limit in dollars is set" if limit is None else f"at most ${limit}, no call starts that could pass it"
        out.print(f"spending  {text}", style="bold yellow")
        for model in dict.fromkeys(plan.models.models):
            if other := plan.prices.priced_as(model):
                out.print(f"          {model} is priced as {other}; other prices go into the spec, under `prices:`")
        if spec.researchers.base_url is not None:
            out.print("          a server at base_url that reports no usage has each call charged at its worst case")
    else:
        text = "$0 for models"
        if plan.settings.claude_key is None:
            text += f": no ANTHROPIC_API_KEY is set, so the team is the {OFFLINE_LABEL}"
        out.print(f"spending  {text}", style="bold")


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
    work = f"{format_short_count(spent.total_tokens)} tokens and {format_duration(spent.agent_seconds)} of work"
    out.print(f"cost: {format_money(spent.usd)}{rate} for {work}")
    if report.exists():
        out.print(f"report: {report}", soft_wrap=True)
    nexts = [f"aar leaderboard {campaign_id}", f"aar forum list -c {campaign_id}", f"aar serve {campaign_id}"]
    if ending.state in ("paused", "failed"):
        nexts.insert(0, f"aar resume {campaign_id}")
    out.print("next: " + "; ".join(nexts))
