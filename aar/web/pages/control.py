"""Pages to launch a campaign, and form handlers to steer it: each is a POST that ends on its own page."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from aar.campaign.lifecycle import SpecDraft, draft_spec, start_controller
from aar.campaign.presets import dotted_fields, list_presets, load_preset
from aar.campaign.spec import CampaignSpec
from aar.campaign.steering import CommandReceipt, add_researchers, change_limits, send_command
from aar.campaign.submission_decisions import confirm_submission, disqualify_submission, reinstate_submission
from aar.errors import UsageError
from aar.problems.registry import installed_problems
from aar.web.api.control import launch_once
from aar.web.app_state import AppStateDep
from aar.web.pages.signed_forms import SignedForm, SignedFormDep
from aar.web.rendering import campaign_link, render_page, researcher_link, submission_link
from aar.web.request_params import CampaignId, Number, ResearcherName, find_campaign, find_researcher

router = APIRouter()
_LIMITS = ("usd", "hours", "tokens", "submissions")


@dataclass(frozen=True, slots=True)
class LaunchField:
    """One field of the form.

    Args:
        name: dotted, as in a spec.
        choices: allowed values; empty for any.
        limit: True if empty text lifts it; any other empty field takes its default.
    """

    name: str
    label: str
    hint: str = ""
    choices: tuple[str, ...] = ()
    number: bool = False
    limit: bool = False


LAUNCH_FIELDS = (
    LaunchField("name", "Name"),
    LaunchField("problem", "Problem"),
    LaunchField("researchers.count", "Researchers", number=True),
    LaunchField(
        "researchers.model", "Model", "auto: Claude where the server has a key, else the offline search baseline"
    ),
    LaunchField("directions.deal", "Directions", "distinct: another one each", ("distinct", "same")),
    LaunchField("limits.hours", "Hours of running", "empty: no limit", number=True, limit=True),
    LaunchField("limits.usd", "Dollars", "never passed; empty: no limit", number=True, limit=True),
    LaunchField("limits.submissions", "Submissions", "empty: no limit", number=True, limit=True),
    LaunchField("limits.researcher.usd", "Dollars of each researcher", "empty: no limit", number=True, limit=True),
    LaunchField("sandbox.backend", "Sandbox", "", ("auto", "docker", "bubblewrap")),
    LaunchField("sandbox.cpus", "Cores of a sandbox", number=True),
    LaunchField("sandbox.memory_gib", "GiB of memory of a sandbox", number=True),
    LaunchField("scoring.seeds", "Seeds of a scoring", "empty: the problem's own", number=True),
)
_KNOWN = frozenset(field.name for field in LAUNCH_FIELDS)


@router.get("/launch")
def launch_page(shared: AppStateDep, start: str = "quick") -> Response:
    """Shows the form, filled in from a ready-made campaign."""
    values = _shown(load_preset(start))
    return _page(values, draft_spec(_given(values), shared.settings), start)


@router.post("/launch")
async def launch_form(shared: AppStateDep, form: SignedFormDep) -> Response:
    """Checks the form, or starts the campaign and redirects to its page."""
    values = {field.name: form.text(field.name) for field in LAUNCH_FIELDS}
    # Both read files, so both run outside the event loop
    made = await anyio.to_thread.run_sync(draft_spec, _given(values), shared.settings)
    if made.spec is None or form.text("action") != "start":
        status = 200 if made.spec else 422
        return await anyio.to_thread.run_sync(partial(_page, values, made, "", once=form.text("once"), status=status))
    key = ("form", form.login.nonce, form.text("once")) if form.text("once") else None
    campaign_id = await launch_once(shared, made, key)
    return form.redirect(campaign_link(campaign_id), f"{campaign_id} starts; its first researcher begins in a moment")


def _page(values: Mapping[str, str], made: SpecDraft, start: str, *, once: str = "", status: int = 200) -> Response:
    wrong: dict[str, list[str]] = {}
    for name, message in made.problems:
        wrong.setdefault(name if name in _KNOWN else "", []).append(message)
    context = {
        "fields": LAUNCH_FIELDS,
        "values": values,
        "wrong": wrong,
        "draft": made,
        "start": start,
        "presets": list_presets(),
        "problems": [each.name for each in installed_problems()],
        "once": once or secrets.token_urlsafe(12),
    }
    return render_page("launch.html", context, status=status)


def _shown(fields: Mapping[str, Any]) -> dict[str, str]:
    """Returns a template's fields for the form, and defaults for the others."""
    defaults = dotted_fields(CampaignSpec().model_dump(mode="json"))
    # A spec that sets limits replaces the quick campaign's as a whole.
    unset = {name for name in defaults if name.startswith("limits.")} if fields else set()
    merged = {name: None if name in unset else value for name, value in defaults.items()} | dict(fields)
    return {
        name: "" if merged.get(name) is None else str(merged[name]) for name in (field.name for field in LAUNCH_FIELDS)
    }


def _given(values: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for field in LAUNCH_FIELDS:
        value = values[field.name].removeprefix("$").replace(",", "") if field.number else values[field.name]
        if value:
            given[field.name] = value
        elif field.limit:
            given[field.name] = None
    return given


@router.post("/campaigns/{campaign_id}/steer")
async def steer_campaign(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Sends a message to all, or pauses, resumes or stops the campaign."""
    command = form.text("command")
    if command == "resume":
        view = await shared.db.read(lambda session: find_campaign(session, campaign_id))
        await anyio.to_thread.run_sync(start_controller, view.id, shared.settings, shared.db)
        return form.redirect(campaign_link(view.id), f"{view.id} is resumed")
    full_id, receipt = await shared.db.write(partial(_ask, form=form, campaign_id=campaign_id, researcher=""))
    return form.redirect(campaign_link(full_id), receipt.text)


@router.post("/campaigns/{campaign_id}/limits")
async def change(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Sets new limits."""
    given = {name: form.text(name) for name in _LIMITS if form.text(name)}
    changes = {name: None if value.lower() == "none" else value.removeprefix("$") for name, value in given.items()}

    def write(session: Session) -> tuple[str, CommandReceipt]:
        view = find_campaign(session, campaign_id)
        return view.id, change_limits(session, view.id, changes, form.by)

    full_id, receipt = await shared.db.write(write)
    return form.redirect(campaign_link(full_id), receipt.text)


@router.post("/campaigns/{campaign_id}/team")
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

    full_id, note = await shared.db.write(write)
    return form.redirect(campaign_link(full_id), note)


@router.post("/campaigns/{campaign_id}/researchers/{name}/steer")
async def steer_researcher(
    shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, name: ResearcherName
) -> Response:
    """Messages, redirects, pauses, resumes or stops one researcher."""
    full_id, receipt = await shared.db.write(partial(_ask, form=form, campaign_id=campaign_id, researcher=name))
    return form.redirect(researcher_link(full_id, name), receipt.text)


@router.post("/campaigns/{campaign_id}/submissions/{number}/decide")
async def decide(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, number: Number) -> Response:
    """Confirms a submission, takes it off the board, or reinstates it."""
    action, reason = form.text("action"), form.text("reason")

    def write(session: Session) -> tuple[str, str]:
        full_id = find_campaign(session, campaign_id).id
        if action == "confirmation":
            heard = confirm_submission(session, full_id, number, reason, form.by).heard
            return full_id, "A confirmation is requested" + (
                "" if heard else "; it waits until the campaign is resumed"
            )
        if action == "disqualification":
            disqualify_submission(session, full_id, number, form.text("rule"), reason, form.by)
            return full_id, f"s{number} is off the board"
        if action == "reinstatement":
            reinstate_submission(session, full_id, number, reason, form.by)
            return full_id, f"s{number} is back on the board"
        raise UsageError(f"unknown action {action[:32]!r}", "Use one of the form's buttons")

    full_id, note = await shared.db.write(write)
    return form.redirect(submission_link(full_id, number), note)


def _ask(session: Session, *, form: SignedForm, campaign_id: str, researcher: str) -> tuple[str, CommandReceipt]:
    view = find_campaign(session, campaign_id)
    name = find_researcher(session, view.id, researcher).name if researcher else ""
    return view.id, send_command(session, view.id, form.text("command"), form.text("words"), form.by, name)
