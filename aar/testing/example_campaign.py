"""A small example campaign, written by the services of a real one.

For tests and screenshots of pages. The scores are made up, so it is only ever written into a separate database; nothing
outside tests calls this.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aar.auth.tokens import issue_token
from aar.budget.ledger import Ledger, WorstCase
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
from aar.forum.authors import Author
from aar.forum.posts import cast_vote, create_comment, create_post
from aar.llm.price_book import PriceBook
from aar.llm.usage import Usage
from aar.problems.protocol import Estimate, Metric, TaskScore
from aar.redteam.campaign_rows import add_campaign
from aar.scoring import submission_queue
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.method_manifest import MethodManifest
from aar.scoring.results import score_writer
from aar.scoring.results.verdict_messages import RunFailure
from aar.scoring.submissions import submit
from aar.snapshots.store import SnapshotStore
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import Campaign, Comment, EventRecord, LedgerEntry, Post, Researcher, Submission

_DIRECTIONS: Final = (
    ("trust", "Which of the teacher's labels deserve belief, and how would you know?"),
    ("simplicity", "Strong models fit anything. What if yours could only say simple things?"),
    ("neighbours", "Texts that lie close together should mean the same. Do the labels agree?"),
    ("already-knows", "Perhaps the strong model knew the answer before anybody labelled anything."),
)
SECRET: Final = "5ec2e7" * 10 + "beef"
"""The campaign's secret; must not appear anywhere."""
PART: Final = 0.8765432101
"""A part of a scoring run; must not appear anywhere."""
HOSTILE: Final = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n\n"
    "[click](javascript:alert(1)) ![pixel](http://127.0.0.1:9/pixel.png) "
    '[data](data:text/html;base64,PHNjcmlwdD4=) <a href="/api/v1" onclick="alert(1)">x</a>\n\n'
    "\x1b[31mred\x1b[0m \u202egnirts"
)
"""Text that tries to run in a page, load from elsewhere, and reverse or colour what a reader sees."""
_METRIC = Metric("PGR", True, 1.0, 0.23, "two researchers in seven days")


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
        await ledger.reserve(WorstCase("model", "claude-sonnet-5-5", 40_000, 8_000), request, researcher_id)
        used = Usage(input_tokens=9_000, cache_read_tokens=31_000, output_tokens=4_200)
        with db.writing() as session:
            ledger.settle_in(session, request, used, 21.0)
        await ledger.reserve(WorstCase("scoring", core_seconds=4000), f"{request}-cpu", researcher_id)
        with db.writing() as session:
            ledger.settle_compute_in(session, f"{request}-cpu", 2400.0)


METHODS: Final = (
    (1, "Confident half of the weak labels", "data_filtering", 0.21, None),
    (2, "Soft labels, strong L2", "confidence_weighting", 0.32, None),
    (3, "k-NN denoising in layer 6", "data_filtering", 0.35, None),
    (4, "Zero-shot direction from prompt pairs", "unsupervised_elicitation", 0.28, None),
    (1, "Confident half, cross-fitted twice", "self_training", 0.27, 1),
    (2, "Strong L2 on PCA-10", "model_internals", 0.40, 2),
    (4, "Zero-shot where it agrees with the teacher", "unsupervised_elicitation", 0.37, 4),
    (3, "Reads past its memory", "other", None, None),
    (3, "k-NN, then co-teaching", "ensemble", 0.39, 3),
    (4, "Zero-shot logits plus weak logits", "ensemble", 0.46, 7),
    (1, "Naive self-training", "self_training", -0.9, 5),
    (2, "PCA-10 head, zero-shot prior", "model_internals", 0.52, 6),
    (4, "Two directions, averaged over seeds", "ensemble", 0.49, 10),
    (2, "PCA-10 head, prior, confidence floor", "model_internals", 0.55, 12),
)
"""Researcher, title, family, score (None where it crashes) and parent of each."""


def submit_example(
    db: Database, snapshots: SnapshotStore, folder: Path, method: tuple[int, str, str, str, int | None]
) -> None:
    """Write a method's code and submit it.

    The arguments: its number, its researcher's id, title, family and parent.
    """
    index, researcher_id, title, family, parent = method
    directory = folder / f"method-{index}"
    directory.mkdir()
    (directory / "run.py").write_text(
        f'"""{title}. </pre><script>alert(1)</script>"""\n\nimport numpy as np\n\n\n'
        "def main(data: str, seed: int, out: str) -> None:\n"
        "    rng = np.random.default_rng(seed)\n"
        f"    np.save(out, rng.random({index}))\n"
    )
    (directory / "weights.bin").write_bytes(bytes(range(256)))
    manifest = MethodManifest(
        title=title,
        claim=f"{title}: the teacher's errors are structured, so this should help on both domains.",
        families=[family],
        parent=None if parent is None else f"s{parent}",
    )
    saved = snapshots.save(directory)
    with db.writing() as session:
        submit(session, campaign_id="k3v9qd", researcher_id=researcher_id, saved=saved, manifest=manifest)


def score_next_submission(db: Database, value: float | None) -> None:
    """Score the next submission in the queue, or make it crash."""
    with db.writing() as session:
        work = submission_queue.claim_submission(
            session, "k3v9qd", domains=("movie", "sarcasm"), seeds=3, secret=SECRET
        )
    assert work is not None
    for index, ticket in enumerate(work.pending):
        parts = _parts(value or 0.0, index)
        trial = ScoringRunResult(TaskScore(parts=parts), None, "", "f" * 64, 1.5)
        if value is None:
            trial = ScoringRunResult(
                None, RunFailure.CRASHED, "crashed: run.py exited with code 1.\nMemoryError", None, 0.5
            )
        with db.writing() as session:
            score_writer.finish_run(session, "k3v9qd", ticket.run_id, trial)
            if value is None:
                score_writer.reject_submission(session, work.submission_id)
                return
    assert value is not None
    error = 0.02 + 0.01 * (work.number % 3)
    estimate = Estimate(value, error, value - 1.645 * error, value + 1.645 * error, 6)
    with db.writing() as session:
        score_writer.record_measurement(session, work.submission_id, estimate, seeds=3, domains=2, metric=_METRIC)


def _parts(score: float, index: int) -> dict[str, float]:
    """Return made-up measurements of a run on 1000 items.

    The method recovers about so much of a gap of 200 items.
    """
    won = round(200 * score) + (-9, 4, 11, -6, 7, -3)[index % 6]
    counts = {"111": 640, "000": 160, "101": max(won, 0), "001": 200 - max(won, 0)}
    counts |= {"111": 640 - max(-won, 0), "011": max(-won, 0)}
    patterns = (f"{pattern:03b}" for pattern in range(8))
    return {f"mwc_{each}": float(counts.get(each, 0)) for each in patterns} | {"universe": 4000.0, "method": PART}


def write_example_forum(session: Session, team: list[str]) -> int:
    """Write posts, comments and votes.

    Returns the id of the post whose text attacks its reader.
    """
    authors = [Author(f"r{index}", researcher_id) for index, researcher_id in enumerate(team, start=1)]
    first = create_post(
        session,
        "k3v9qd",
        authors[1],
        kind="result",
        title="Ten principal components are enough",
        body="# What I did\n\nA logistic head on the first **ten** components, `C = 0.01`.\n\n"
        "| components | PGR |\n|---|---:|\n| 384 | 0.32 |\n| 10 | 0.40 |\n\n"
        "```python\nhead.fit(x[:, :10], soft)\n```\n\n"
        "The teacher's errors do not lie in those directions. See [the paper](https://example.org/paper).",
        submission_number=6,
    )
    second = create_post(
        session,
        "k3v9qd",
        authors[3],
        kind="insight",
        title="Zero-shot wins on movie and fails on sarcasm",
        body="So mix.",
    )
    create_post(session, "k3v9qd", authors[2], kind="error", title="Naive self-training collapses", body="It echoes.")
    create_comment(session, "k3v9qd", authors[3], first.id, "I see the same with `k = 12`; *not* with 40.")
    create_comment(session, "k3v9qd", Author("human:ana", None), first.id, "Does it hold on sarcasm alone?")
    human = create_post(
        session,
        "k3v9qd",
        Author("human:ana", None),
        kind="question",
        title="Who tried permuted labels?",
        body="?",
    )
    for voter, post, value in ((0, first, 1), (2, first, 1), (1, second, 1), (3, human, -1)):
        cast_vote(session, "k3v9qd", authors[voter], post.id, value)
    title = "<script>document.title='owned'</script> \x1b[31m"
    return create_post(session, "k3v9qd", authors[0], kind="hypothesis", title=title, body=HOSTILE).id


def spread_events(session: Session, minutes: int) -> None:
    """Spread the log evenly over so many minutes until now.

    All other times follow their events.
    """
    log = list(session.scalars(select(EventRecord).order_by(EventRecord.id)))
    written = [each.at for each in log]
    begin, step = now() - timedelta(minutes=minutes), timedelta(minutes=minutes) / len(log)

    def moved(at: datetime) -> datetime:
        return begin + step * bisect_left(written, at)

    guards = session.execute(
        text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'event'")
    ).all()
    for guard in guards:  # the log refuses changes, and this one is made up
        session.execute(text(f"DROP TRIGGER {guard.name}"))
    for index, each in enumerate(log):
        each.at = begin + step * index
    session.flush()
    for guard in guards:
        session.execute(text(guard.sql))
    for written_text in [*session.scalars(select(Post)), *session.scalars(select(Comment))]:
        written_text.created_at = moved(written_text.created_at)
    for submission in session.scalars(select(Submission)):
        submission.created_at = moved(submission.created_at)
        submission.finished_at = submission.finished_at and moved(submission.finished_at)
    bills = list(session.scalars(select(LedgerEntry).order_by(LedgerEntry.id)))
    for index, bill in enumerate(bills, start=1):
        bill.created_at = moved(bill.created_at)
        bill.settled_at = begin + timedelta(minutes=minutes) * index / (len(bills) + 1)
    campaign = session.get_one(Campaign, "k3v9qd")
    campaign.created_at = campaign.started_at = begin
