"""Creates, starts, resumes and ends campaigns.

A controller that is started for the web is a process of its own, which outlives its parent. Requests from the web may
do less than a person at the machine: only installed problems, no paths, no other servers for the models (they would
receive the key), no other database.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.campaign.controller_lock import (
    RESUMABLE_STATES,
    controller_id,
    is_controller_alive,
    load_campaign,
    reserve_campaign,
)
from aar.campaign.costs import CostEstimate, estimate_cost
from aar.campaign.directions import assign_directions, load_directions
from aar.campaign.preflight import CampaignPlan, assign_models, run_preflight
from aar.campaign.spec import CampaignSpec, override_stored_spec, spec_from_fields
from aar.errors import AarError, Conflict, UsageError
from aar.events import CampaignCreated
from aar.llm.price_book import OFFLINE_MODEL
from aar.problems.plugin_calls import call_plugin_sync
from aar.problems.protocol import version_of
from aar.problems.registry import find_problem, installed_problems
from aar.redaction import without_database_address
from aar.researcher.context import ResearcherOutcome
from aar.scoring.submission_queue import check_problem_version
from aar.settings import Settings
from aar.store.database import Database
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Campaign, Researcher

_ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH = 6
_CHANGEABLE = ("limits.", "serve.", "scoring.parallel", "sandbox.backend")
CONTROLLER_LOG = "controller.log"
_REFUSED = ("database", "directions.file", "researchers.base_url", "researchers.region", "serve", "prices", "seed")
_HERE = "(only at the machine itself: aar start)"


def create_campaign(session: Session, plan: CampaignPlan) -> str:
    """Create a campaign in state ``created`` with its researchers; return its id."""
    campaign_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    seed = plan.spec.seed
    session.add(
        Campaign(
            id=campaign_id,
            name=plan.spec.name,
            problem=plan.spec.problem,
            problem_version=version_of(plan.problem),
            spec=plan.spec.model_dump(mode="json"),
            state="created",
            secret=secrets.token_hex(32) if seed is None else hashlib.sha256(f"seed {seed}".encode()).hexdigest(),
            sandbox=plan.backend.name,
        )
    )
    session.flush()
    for index, (direction, model) in enumerate(zip(plan.directions, plan.models.models, strict=True), start=1):
        session.add(
            Researcher(
                id=f"{campaign_id}-r{index}",
                campaign_id=campaign_id,
                name=f"r{index}",
                index=index,
                direction_key=direction.key,
                direction=direction.text,
                family=direction.family,
                model=model,
                state="created",
            )
        )
    session.flush()
    append_event(
        session, campaign_id, CampaignCreated(problem=plan.problem.name, researchers=plan.spec.researchers.count)
    )
    return campaign_id


def read_changed_spec(session: Session, campaign_id: str, overrides: Mapping[str, Any]) -> CampaignSpec:
    """Return the spec of an earlier campaign with overrides on top; write nothing yet.

    Args:
        overrides: dotted fields to values; limits, serving, parallelism and the sandbox backend may change.

    Raises:
        Conflict: the campaign is over, or a field that may not change was given.
        SpecError: the result is invalid.
    """
    campaign = session.get_one(Campaign, campaign_id)
    if campaign.state not in RESUMABLE_STATES:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one with: aar start")
    for field in overrides:
        if not field.startswith(_CHANGEABLE):
            raise Conflict(f"{field} cannot change once a campaign has begun", "Start a new one with: aar start")
    return override_stored_spec(without_database_address(campaign.spec), overrides)


def save_changed_spec(session: Session, campaign_id: str, overrides: Mapping[str, Any]) -> CampaignSpec:
    """Store the changed spec, so that the next resume starts from it; return it.

    The overrides apply to the spec as it is stored now: limits that somebody else changed meanwhile stay changed.

    Raises: as ``read_changed_spec``.
    """
    lock_campaign(session, campaign_id)
    spec = read_changed_spec(session, campaign_id, overrides)
    session.get_one(Campaign, campaign_id).spec = spec.model_dump(mode="json")
    return spec


@dataclass(frozen=True, slots=True)
class SpecDraft:
    """A spec under construction.

    Args:
        spec: None while it is invalid.
        problems: field (empty for the whole) and message of each mistake.
        cost: None while it is unknown.
        models: of each researcher; empty while they are unknown.
    """

    spec: CampaignSpec | None
    problems: list[tuple[str, str]]
    cost: CostEstimate | None = None
    models: tuple[str, ...] = ()


def draft_spec(fields: Mapping[str, Any], settings: Settings) -> SpecDraft:
    """Check dotted fields like ``aar spec validate``, and estimate the cost.

    Args:
        fields: such as ``{"limits.usd": "20"}``; the others are those of the quick campaign.
        settings: of this machine, including the keys.
    """
    refused = [name for name in fields if name.startswith(_REFUSED)]
    if refused:
        return SpecDraft(None, [(name, f"{name} cannot be set here {_HERE}") for name in refused])
    spec, problems = spec_from_fields(fields)
    if spec is None:
        return SpecDraft(None, problems)
    installed = [each.name for each in installed_problems()]
    if spec.problem not in installed:
        known = ", ".join(installed)
        return SpecDraft(None, [("problem", f"no problem {spec.problem[:64]} is installed; there are: {known}")])
    try:
        problem = find_problem(spec.problem)
    except AarError as error:
        return SpecDraft(None, [("problem", str(error))])
    empty: tuple[str, ...] = ()
    place, cost, models = "directions.deal", None, empty
    try:
        assign_directions(spec, load_directions(problem.directions()))
        place = "researchers.model"
        models = assign_models(spec, settings).models
        prices = spec.price_book()
        for model in models:
            prices.price(model)
        cost = estimate_cost(spec, models, prices)
        place = "limits.usd"
        if cost.most is None and any(model != OFFLINE_MODEL for model in models):
            raise UsageError(
                "paid models need a limit in dollars here", "Set limits.usd, or start it at the machine itself"
            )
        place = "problem"
        call_plugin_sync(problem, "check_data")
    except AarError as error:
        problems = [(place, str(error))]
    return SpecDraft(None if problems else spec, problems, cost, models)


async def create_and_start(spec: CampaignSpec, settings: Settings, db: Database) -> str:
    """Create a campaign and start its controller; return its id.

    Args:
        spec: from ``draft_spec``.
        settings: of this machine.
        db: the database that it goes to.

    Raises:
        AarError: something that the campaign needs is absent; nothing was started.
    """
    # The address may contain a password: it stays in the environment of the controller.
    plan = await run_preflight(spec.model_copy(update={"database": db.url}), settings)
    try:
        campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
    finally:
        await plan.backend.close()
        plan.database.close()
    await asyncio.to_thread(start_controller, campaign_id, settings, db)
    return campaign_id


def start_controller(campaign_id: str, settings: Settings, db: Database) -> None:
    """Start a controller for a stopped campaign.

    It serves no pages, because its parent does.

    Raises:
        NotFound: no such campaign.
        Conflict: it is over, has a controller, or was begun under another version of its problem.
        UsageError: its models need a key and this process has none.
    """
    with db.reading() as session:
        campaign = load_campaign(session, campaign_id)
        if campaign.state not in RESUMABLE_STATES:
            raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one")
        if is_controller_alive(campaign):
            state = "running" if campaign.state == "running" else "being started"
            raise Conflict(f"campaign {campaign_id} is {state} already")
        check_problem_version(session, campaign_id, find_problem(campaign.problem))
        _require_key(session, campaign, settings)
    home = settings.campaign_dir(campaign_id)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = os.environ | {"AAR_HOME": str(settings.home), "AAR_DATABASE": db.url}
    with _log(home) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aar", "resume", campaign_id, "--plain", "--yes", "--no-serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=environment,
            start_new_session=True,
        )
    try:
        if holder := controller_id(process.pid):  # held for it from now on, not once it is ready
            db.write_now(lambda session: reserve_campaign(session, campaign_id, holder=holder))
    except Conflict:
        process.kill()
        process.wait()
        raise
    threading.Thread(target=_await_exit, args=(process, campaign_id, db, home), daemon=True).start()


def _require_key(session: Session, campaign: Campaign, settings: Settings) -> None:
    """Raise UsageError if a researcher's model needs a key that is absent here."""
    options = CampaignSpec.model_validate(without_database_address(campaign.spec)).researchers
    if settings.claude_key is not None or options.base_url is not None or options.provider != "anthropic":
        return
    models = session.scalars(select(Researcher.model).where(Researcher.campaign_id == campaign.id))
    needy = next((model for model in models if model != OFFLINE_MODEL), None)
    if needy is not None:
        raise UsageError(
            f"campaign {campaign.id} calls {needy}, which needs a key, and this server has none",
            f"Resume it at the machine itself: aar resume {campaign.id}; or give servers AAR_ANTHROPIC_API_KEY_FILE",
        )


def _await_exit(process: subprocess.Popen[bytes], campaign_id: str, db: Database, home: Path) -> None:
    """Wait for the process's end, so that no zombie stays.

    Record why it failed to start, if it did.
    """
    code = process.wait()
    if code == 0:
        return
    lines = (home / CONTROLLER_LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
    with db.writing() as session:
        campaign = session.get(Campaign, campaign_id)
        if campaign is not None and campaign.state == "created":
            campaign.state, campaign.cause = "failed", f"it did not start: {reason.removeprefix('error: ')[:500]}"


def _log(home: Path) -> Any:
    descriptor = os.open(home / CONTROLLER_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "ab")


@dataclass(frozen=True, slots=True)
class CampaignEnding:
    """The state in which a controller leaves a campaign, and its cause.

    The state is ``paused``, ``finished`` or ``failed``.
    """

    state: str
    cause: str


class StopSignal:
    """Requests the end of everything in a campaign, and stores which ending.

    ``event`` is set once the researchers are to end. ``hurry`` is set once even the scoring of their submissions is to
    wait for the next run.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.hurry = asyncio.Event()
        self.ending: CampaignEnding | None = None

    def pause(self, cause: str) -> None:
        """End after the turns in progress, so that the campaign can be resumed.

        The first cause stays.
        """
        if self.ending is None or self.ending.state == "finished":
            self.ending = CampaignEnding("paused", cause)
        self.event.set()
        self.hurry.set()

    def finish(self, cause: str) -> None:
        """End for good after the turns in progress and the scoring of submissions.

        A pause stays a pause.
        """
        if self.ending is None:
            self.ending = CampaignEnding("finished", cause)
        self.event.set()


def ending_of_outcomes(outcomes: Sequence[ResearcherOutcome]) -> CampaignEnding:
    """Return the ending of a campaign whose researchers all stopped by themselves."""
    failed = [outcome for outcome in outcomes if outcome.reason == "failed"]
    if failed and len(failed) == len(outcomes):
        return CampaignEnding("failed", f"every researcher failed: {failed[0].detail}")
    away = [outcome for outcome in outcomes if outcome.reason == "away"]
    if away:
        return CampaignEnding("paused", away[0].detail)
    limited = [outcome for outcome in outcomes if outcome.reason == "limit"]
    if limited:
        return CampaignEnding("paused", limited[0].detail)
    if failed:
        return CampaignEnding(
            "finished", f"the team is done; {len(failed)} of {len(outcomes)} failed: {failed[0].detail}"
        )
    return CampaignEnding("finished", "every researcher finished")
