"""A small example campaign, written by the services of a real one.

For tests and screenshots of pages. The scores are made up, so it is only ever written into a separate database; nothing
outside tests calls this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from aar.auth.tokens import issue_token
from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.events import (
    CampaignStarted,
    DiversityMeasured,
    LimitHit,
    MessageAdded,
    ResearcherStarted,
    ToolFinished,
    ToolStarted,
    TurnReceived,
)
from aar.llm.price_book import PriceBook
from aar.llm.usage import Usage
from aar.redteam.campaign_rows import add_campaign
from aar.snapshots.store import SnapshotStore
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import Campaign, Researcher
from aar.testing.examples.backdate_events import spread_events
from aar.testing.examples.example_forum import write_example_forum
from aar.testing.examples.example_methods import METHODS, score_next_submission, submit_example
from aar.testing.examples.planted_secrets import SECRET

_DIRECTIONS: Final = (
    ("trust", "Which of the teacher's labels deserve belief, and how would you know?"),
    ("simplicity", "Strong models fit anything. What if yours could only say simple things?"),
    ("neighbours", "Texts that lie close together should mean the same. Do the labels agree?"),
    ("already-knows", "Perhaps the strong model knew the answer before anybody labelled anything."),
)


@dataclass(frozen=True, slots=True)
class ExampleCampaign:
    """The example campaign's tokens and posts.

    Args:
        tokens: each researcher's token, by id.
        hostile_post: id of the post whose text attacks its reader.
    """

    id: str
    tokens: dict[str, str]
    hostile_post: int


async def write_example_campaign(
    db: Database, snapshots: SnapshotStore, folder: Path, *, minutes: int = 48
) -> ExampleCampaign:
    """Write the campaign, as if it had run for so many minutes until now.

    Args:
        db: a migrated SQLite database.
        snapshots: the store of the methods' code.
        folder: an empty folder to write methods in.
    """
    with db.writing() as session:
        team = add_campaign(session, "k3v9qd", 4)
        tokens = {each: issue_token(session, each) for each in team}
        _describe(session, team)
    await _spend(db, team)
    for index, (author, title, family, value, parent) in enumerate(METHODS, start=1):
        submit_example(db, snapshots, folder, (index, team[author - 1], title, family, parent))
        score_next_submission(db, value)
        with db.writing() as session:
            bits = round(2 * math.exp(-index / 22), 3)
            band = {"low": round(0.7 * bits, 3), "high": round(min(2.0, 1.05 * bits), 3)}
            append_event(
                session, "k3v9qd", DiversityMeasured(bits=bits, families=4, vendi=round(3.6 - index / 9, 2), **band)
            )
    with db.writing() as session:
        hostile = write_example_forum(session, team)
        hit = LimitHit(
            scope="campaign", limit="submissions", ceiling=Decimal(14), committed=Decimal(14), asked=Decimal(1)
        )
        append_event(session, "k3v9qd", hit)
    with db.writing() as session:
        spread_events(session, minutes)
    return ExampleCampaign("k3v9qd", tokens, hostile)


def _describe(session: Session, team: list[str]) -> None:
    limits = Limits(hours=1, submissions=14).model_dump(mode="json")
    campaign = session.get_one(Campaign, "k3v9qd")
    campaign.name, campaign.secret, campaign.state = "four directions", SECRET, "running"
    campaign.sandbox, campaign.started_at = "bubblewrap", now()
    campaign.spec = {"name": "four directions", "seed": 7, "limits": limits}
    append_event(session, "k3v9qd", CampaignStarted(pid=1, sandbox="bubblewrap"))
    for researcher_id, (key, direction) in zip(team, _DIRECTIONS, strict=True):
        researcher = session.get_one(Researcher, researcher_id)
        researcher.direction_key, researcher.direction = key, direction
        researcher.state, researcher.active_seconds = "running", 2700.0
        researcher.doing = "trying a confidence floor on the PCA-10 head"
        started = ResearcherStarted(direction=key, model="offline-search")
        append_event(session, "k3v9qd", started, researcher_id)
        _converse(session, researcher_id)


def _converse(session: Session, researcher_id: str) -> None:
    def say(event: MessageAdded | TurnReceived | ToolStarted | ToolFinished) -> None:
        append_event(session, "k3v9qd", event, researcher_id)

    code = {"command": "python run.py --data /data/movie --seed 1 --out /tmp/out.npz && ls -l /tmp"}
    say(MessageAdded(reason="the opening", content=[{"type": "text", "text": "Begin.\n\n" + "The brief. " * 80}]))
    content = [
        {"type": "thinking", "thinking": "The teacher errs on irony.", "signature": ""},
        {"type": "text", "text": "I look at the data first. `run.py` is a draft."},
        {"type": "tool_use", "id": f"{researcher_id}-1", "name": "bash", "input": code},
    ]
    say(
        TurnReceived(
            request_id=f"{researcher_id}-q",
            model="offline-search",
            content=content,
            stop_reason="tool_use",
            output_tokens=120,
            usd=Decimal(0),
        )
    )
    say(ToolStarted(tool_use_id=f"{researcher_id}-1", tool="bash", about="python run.py"))
    result = [{"type": "text", "text": "total 4\n-rw-r--r-- 1 agent agent 310 out.npz\n<script>alert(1)</script>"}]
    say(ToolFinished(tool_use_id=f"{researcher_id}-1", tool="bash", content=result, is_error=False, seconds=1.5))


async def _spend(db: Database, team: list[str]) -> None:
    ledger = Ledger(db, "k3v9qd", Limits(usd=Decimal(50), usd_per_core_hour=Decimal("0.04")), PriceBook())
    await ledger.load()
    for researcher_id in team:
        request = f"{researcher_id}-example"
        await ledger.reserve_call(
            request_id=request,
            researcher_id=researcher_id,
            model="claude-sonnet-5-5",
            input_tokens=40_000,
            max_output_tokens=8_000,
        )
        used = Usage(input_tokens=9_000, cache_read_tokens=31_000, output_tokens=4_200)
        with db.writing() as session:
            ledger.settle_in(session, request, used, 21.0)
        await ledger.reserve_compute(
            request_id=f"{request}-cpu", researcher_id=researcher_id, kind="scoring", core_seconds=4000
        )
        with db.writing() as session:
            ledger.settle_compute_in(session, f"{request}-cpu", 2400.0)
