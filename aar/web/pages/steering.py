"""Form handlers for steering: each is a POST that ends on its own page."""

from __future__ import annotations

from functools import partial

import anyio.to_thread
from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from aar.campaign.control.steering import CommandReceipt, change_limits, send_command
from aar.campaign.control.submission_decisions import confirm_submission, disqualify_submission, reinstate_submission
from aar.campaign.lifecycle.background_start import start_controller
from aar.campaign.researchers.add_researchers import add_researchers
from aar.errors import UsageError
from aar.web.api.pagination import Number
from aar.web.app_state import AppStateDep
from aar.web.pages.signed_forms import SignedForm, SignedFormDep
from aar.web.path_params import CampaignId, ResearcherName, find_campaign, find_researcher
from aar.web.urls import campaign_link, researcher_link, submission_link

router = APIRouter(prefix="/campaigns/{campaign_id}")
_LIMITS = ("usd", "hours", "tokens", "submissions")


@router.post("/steer")
async def steer_campaign(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Sends a message to all, or pauses, resumes or stops the campaign."""
    command = form.text("command")
    if command == "resume":
        view = await shared.db.read(lambda session: find_campaign(session, campaign_id))
        await anyio.to_thread.run_sync(start_controller, view.id, shared.settings, shared.db)
        return form.redirect(campaign_link(view.id), f"{view.id} is resumed")
    found, asked = await shared.db.write(partial(_ask, form=form, campaign_id=campaign_id, researcher=""))
    return form.redirect(campaign_link(found), asked.told)


@router.post("/limits")
async def change(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Sets new limits."""
    given = {name: form.text(name) for name in _LIMITS if form.text(name)}
    changes = {name: None if value.lower() == "none" else value.removeprefix("$") for name, value in given.items()}

    def write(session: Session) -> tuple[str, CommandReceipt]:
        view = find_campaign(session, campaign_id)
        return view.id, change_limits(session, view.id, changes, form.by)

    found, asked = await shared.db.write(write)
    return form.redirect(campaign_link(found), asked.told)


@router.post("/team")
async def add(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Adds researchers."""
    count = form.text("count")
    if not (count.isascii() and count.isdigit() and len(count) < 6):
        raise UsageError(f"invalid number of researchers {count[:20]!r}, expected 1 to 500", "Enter 1 to 500")
    direction, model = form.text("direction") or None, form.text("model") or None

    def write(session: Session) -> tuple[str, str]:
        view = find_campaign(session, campaign_id)
        made, heard = add_researchers(session, view.id, int(count), form.by, direction=direction, model=model)
        when = "begin now" if heard else "begin at the next start"
        return view.id, f"{', '.join(each.name for each in made)} {when}"

    found, told = await shared.db.write(write)
    return form.redirect(campaign_link(found), told)


@router.post("/researchers/{name}/steer")
async def steer_researcher(
    shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, name: ResearcherName
) -> Response:
    """Messages, redirects, pauses, resumes or stops one researcher."""
    found, asked = await shared.db.write(partial(_ask, form=form, campaign_id=campaign_id, researcher=name))
    return form.redirect(researcher_link(found, name), asked.told)


@router.post("/submissions/{number}/decide")
async def decide(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, number: Number) -> Response:
    """Confirms a submission, takes it off the board, or reinstates it."""
    action, reason = form.text("action"), form.text("reason")

    def write(session: Session) -> tuple[str, str]:
        found = find_campaign(session, campaign_id).id
        if action == "confirmation":
            heard = confirm_submission(session, found, number, reason, form.by).heard
            return found, "A confirmation is requested" + ("" if heard else "; it waits until the campaign is resumed")
        if action == "disqualification":
            disqualify_submission(session, found, number, form.text("rule"), reason, form.by)
            return found, f"s{number} is off the board"
        if action == "reinstatement":
            reinstate_submission(session, found, number, reason, form.by)
            return found, f"s{number} is back on the board"
        raise UsageError(f"unknown action {action[:32]!r}", "Use one of the form's buttons")

    found, told = await shared.db.write(write)
    return form.redirect(submission_link(found, number), told)


def _ask(session: Session, *, form: SignedForm, campaign_id: str, researcher: str) -> tuple[str, CommandReceipt]:
    view = find_campaign(session, campaign_id)
    name = find_researcher(session, view.id, researcher).name if researcher else ""
    return view.id, send_command(session, view.id, form.text("command"), form.text("words"), form.by, name)
