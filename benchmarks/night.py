"""Writes a campaign as large as a night's, for benchmarks to read.

It uses the services that write a real one.

Nine researchers talk, call tools, post, comment, vote and submit; each turn is reserved and settled on the ledger.
Texts are drawn from a seeded vocabulary; scores are made up, so it is only ever written into a database of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.limits import Limits
from aar.events import CampaignStarted, DiversityMeasured, ModelCalled, ToolFinished, ToolStarted, TurnReceived
from aar.forum.authors import Author
from aar.forum.posts import POST_KINDS, cast_vote, create_comment, create_post
from aar.llm.price_book import PriceBook
from aar.llm.usage import Usage
from aar.problems.protocol import Estimate, Metric, TaskScore
from aar.redteam.campaign_rows import add_campaign
from aar.scoring import submission_queue
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.method_manifest import MethodManifest
from aar.scoring.results import score_writer
from aar.scoring.submissions import submit
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.store.event_log import append_event, latest_event_id
from aar.store.models import Campaign, Researcher
from aar.testing.example_campaign import spread_events

CAMPAIGN = "k3v9qd"
MODEL = "claude-sonnet-5-5"
FAMILIES = ("data_filtering", "ensemble", "model_internals", "self_training", "unsupervised_elicitation", "other")
METRIC = Metric("PGR", True, 1.0, 0.23, "two researchers in seven days")
VOCABULARY = ["".join(random.Random(index).choices("abcdefghijklmnop", k=3 + index % 7)) for index in range(2000)]
WEIGHTS = [1 / (rank + 1) for rank in range(len(VOCABULARY))]


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a night."""

    researchers: int = 9
    submissions: int = 300
    posts: int = 2_000
    events: int = 50_000
    minutes: int = 600


class Night:
    """Writes one campaign, everything in the order in which it would happen."""

    def __init__(self, db: Database, folder: Path, size: Size) -> None:
        self._db, self._folder, self._size = db, folder, size
        self._snapshots = SnapshotStore(folder / "campaigns" / CAMPAIGN / "snapshots")
        self._rng = random.Random(11)
        self._team: list[str] = []
        self._handed_in = self._posted = 0

    async def write(self) -> None:
        """Write the campaign."""
        size = self._size
        with self._db.writing() as session:
            self._team = add_campaign(session, CAMPAIGN, size.researchers)
            self._begin(session)
        limits = Limits(usd=Decimal(100_000), usd_per_core_hour=Decimal("0.04"))
        ledger = Ledger(self._db, CAMPAIGN, limits, PriceBook())
        await ledger.load()
        turns = max(1, (size.events - 12 * size.submissions - 3 * size.posts) // 4)
        for turn in range(turns):
            await self._turn(ledger, turn)
            while self._posted * turns < size.posts * turn:
                self._post()
            while self._handed_in * turns < size.submissions * turn:
                self._hand_in()
        while self._count() < size.events:
            await self._turn(ledger, turns := turns + 1)
        with self._db.writing() as session:
            spread_events(session, size.minutes)

    def words(self, count: int) -> str:
        """Return text of the given length, in words of natural frequency."""
        return " ".join(self._rng.choices(VOCABULARY, WEIGHTS, k=count))

    def _count(self) -> int:
        with self._db.reading() as session:
            return latest_event_id(session, CAMPAIGN)

    def _begin(self, session: Session) -> None:
        campaign = session.get_one(Campaign, CAMPAIGN)
        campaign.name, campaign.state, campaign.sandbox = "a night", "running", "bubblewrap"
        campaign.spec = {"name": "a night", "limits": Limits(hours=10).model_dump(mode="json")}
        append_event(session, CAMPAIGN, CampaignStarted(pid=1, sandbox="bubblewrap"))
        for researcher_id in self._team:
            researcher = session.get_one(Researcher, researcher_id)
            researcher.model, researcher.state, researcher.active_seconds = MODEL, "running", 36_000.0
            researcher.direction, researcher.doing = self.words(14), self.words(8)

    async def _turn(self, ledger: Ledger, turn: int) -> None:
        author, request = self._team[turn % len(self._team)], f"q{turn}"
        asked = ModelCalled(request_id=request, model=MODEL)
        await ledger.reserve(
            WorstCase("model", MODEL, 40_000, 8_000),
            request,
            author,
            lambda session: append_event(session, CAMPAIGN, asked, author) > 0,
        )
        used = Usage(input_tokens=900, cache_read_tokens=39_000, output_tokens=700)
        content = [
            {"type": "thinking", "thinking": self.words(60), "signature": "c2ln" * 40},
            {"type": "text", "text": self.words(30)},
            {"type": "tool_use", "id": f"t{turn}", "name": "bash", "input": {"command": self.words(40)}},
        ]
        said = [{"type": "text", "text": self.words(120)}]
        with self._db.writing() as session:
            usd = ledger.settle_in(session, request, used, 9.0)
            received = TurnReceived(
                request_id=request, model=MODEL, content=content, stop_reason="tool_use", output_tokens=700, usd=usd
            )
            append_event(session, CAMPAIGN, received, author)
            append_event(
                session, CAMPAIGN, ToolStarted(tool_use_id=f"t{turn}", tool="bash", about=self.words(6)), author
            )
            done = ToolFinished(tool_use_id=f"t{turn}", tool="bash", content=said, is_error=False, seconds=3.0)
            append_event(session, CAMPAIGN, done, author)

    def _post(self) -> None:
        self._posted += 1
        rng, names = self._rng, [Author(each.rpartition("-")[2], each) for each in self._team]
        cited = rng.randint(1, self._handed_in) if self._handed_in else None
        body = f"{self.words(70)}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n{self.words(50)}"
        author, voter = rng.sample(names, 2)
        with self._db.writing() as session:
            post = create_post(
                session,
                CAMPAIGN,
                author,
                kind=rng.choice(POST_KINDS),
                title=self.words(8),
                body=f"{body} s{cited}" if cited else body,
                submission_number=cited,
            )
            for _ in range(rng.randint(0, 1)):
                create_comment(session, CAMPAIGN, rng.choice(names), rng.randint(1, post.id), self.words(40))
            cast_vote(session, CAMPAIGN, voter, post.id, 1)

    def _hand_in(self) -> None:
        self._handed_in += 1
        number, rng = self._handed_in, self._rng
        folder = self._folder / "methods" / str(number)
        folder.mkdir(parents=True)
        (folder / "run.py").write_text("\n".join(f"# {self.words(9)}\nx{line} = {line}" for line in range(60)))
        parent = f"s{rng.randint(1, number - 1)}" if number > 5 and rng.random() < 0.7 else None
        manifest = MethodManifest(
            title=self.words(5), claim=self.words(40), families=[rng.choice(FAMILIES)], parent=parent
        )
        saved = self._snapshots.save(folder)
        with self._db.writing() as session:
            author = rng.choice(self._team)
            submit(session, campaign_id=CAMPAIGN, researcher_id=author, saved=saved, manifest=manifest)
            work = submission_queue.claim_submission(
                session, CAMPAIGN, domains=("movie", "sarcasm"), seeds=3, secret="0" * 64
            )
            assert work is not None
            mean = 0.6 * number / self._size.submissions + rng.gauss(0, 0.12)
            for ticket in work.pending:
                trial = ScoringRunResult(TaskScore(parts={"method": mean}), None, "", "f" * 64, 1.5)
                score_writer.finish_run(session, CAMPAIGN, ticket.run_id, trial)
            estimate = Estimate(mean, 0.03, mean - 0.05, mean + 0.05, 6)
            score_writer.record_measurement(session, work.submission_id, estimate, seeds=3, domains=2, metric=METRIC)
            append_event(session, CAMPAIGN, DiversityMeasured(bits=round(rng.uniform(1.5, 2.5), 3), families=5))
