"""Run a campaign from a terminal, with a view and a page process."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from aar.auth.sessions import LoginLinks
from aar.campaign.controller.controller import CampaignCompanion
from aar.campaign.controller_lock import reserve_campaign
from aar.campaign.lifecycle import CampaignEnding, create_campaign, save_changed_spec
from aar.campaign.preflight import CampaignPlan, run_preflight
from aar.campaign.spec import CampaignSpec
from aar.cli.author_name import login_line, login_name
from aar.cli.campaign_process import report_path, run_campaign
from aar.cli.output.log_setup import configure_logging
from aar.cli.output.printing import make_console
from aar.cli.output.streams import detach_terminal
from aar.cli.running.event_lines import plain_view
from aar.cli.running.page_process import serve_pages
from aar.cli.running.start_summary import confirm_spending, print_end_summary, print_start_summary
from aar.cli.views.live import live_view
from aar.processes import raise_open_file_limit
from aar.settings import get_settings
from aar.web.listen_address import bind_listener, page_address

_Prepare = Callable[[CampaignPlan], Awaitable[str]]
_DEFAULT_PORT = CampaignSpec().serve.port


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
        print_end_summary(plan, campaign_id, ending, report_path(plan, campaign_id))
        return 1 if ending.state == "failed" else 0


async def _run_with_view(
    plan: CampaignPlan, campaign_id: str, listener: socket.socket | None, options: _RunOptions
) -> CampaignEnding:
    companions: list[CampaignCompanion] = [plain_view if options.plain else live_view]
    address, links = "", LoginLinks()
    if listener is not None:
        host = plan.spec.serve.host
        address = page_address(listener, host)
        companions.append(serve_pages(host, listener, links))
    say = f"campaign {campaign_id}" + (f", pages at {address}" if address else "")
    make_console().print(say + "; Ctrl-C pauses it", style="" if options.plain else "bold")
    if address:  # to the terminal alone, never to a log
        make_console().print(
            login_line(address, links.issue("operator", login_name())), soft_wrap=True, highlight=False
        )
    return await run_campaign(plan, campaign_id, address=address, companions=companions, on_hangup=detach_terminal)


def _listen(spec: CampaignSpec, options: _RunOptions, closing: ExitStack) -> socket.socket | None:
    """Bind the address before anything is started, so that a taken port costs nothing."""
    if not spec.serve.enabled:
        return None
    any_port = options.any_port and spec.serve.port == _DEFAULT_PORT
    return closing.enter_context(bind_listener(spec.serve.host, spec.serve.port, next_free=any_port))


def _is_plain(asked: bool) -> bool:
    return asked or not sys.stdout.isatty()
