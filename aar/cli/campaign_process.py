"""Run a campaign in this process: signals, the report at the end, clean-up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import structlog

from aar.campaign.controller.controller import CampaignCompanion, Controller
from aar.campaign.lifecycle import CampaignEnding
from aar.campaign.preflight import CampaignPlan
from aar.concurrency import best_effort, log_failure
from aar.report.html_report import write_report
from aar.snapshots.store import SnapshotStore

log = structlog.get_logger(__name__)

_CLOSE_SECONDS = 30.0


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
        write_report(plan.database, campaign_id, report_path(plan, campaign_id), snapshots=snapshots)
    except Exception:
        log.exception("the report could not be written; write it with: aar report", campaign=campaign_id)


def report_path(plan: CampaignPlan, campaign_id: str) -> Path:
    """Return the path of a campaign's report."""
    return plan.settings.campaign_dir(campaign_id) / "report.html"


@contextmanager
def _signals(controller: Controller, on_hangup: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    asked, gone = 0, False

    def interrupt(name: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            controller.stop.pause(f"paused by {name}")
        else:
            controller.abort()

    def hang_up() -> None:  # a shell and the kernel may both signal it
        nonlocal gone
        gone = True
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
        if gone:  # a second signal must not stop what is left to do, such as the report
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
