"""Page to launch a campaign from a template or by hand.

The cost and the errors are shown beside the fields.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Response

from aar.campaign.lifecycle.background_start import SpecDraft, draft_spec
from aar.campaign.presets import dotted_fields, list_presets, load_preset
from aar.campaign.spec import CampaignSpec
from aar.problems.registry import installed_problems
from aar.web.api.control.launch import launch_once
from aar.web.app_state import AppStateDep
from aar.web.pages.signed_forms import SignedFormDep
from aar.web.rendering import render_page
from aar.web.urls import campaign_link

router = APIRouter(prefix="/launch")


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


@router.get("")
def launch_page(shared: AppStateDep, start: str = "quick") -> Response:
    """Shows the form, filled in from a ready-made campaign."""
    values = _shown(load_preset(start))
    return _page(values, draft_spec(_given(values), shared.settings), start)


@router.post("")
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
    found = {name: None if name in unset else value for name, value in defaults.items()} | dict(fields)
    return {
        name: "" if found.get(name) is None else str(found[name]) for name in (field.name for field in LAUNCH_FIELDS)
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
