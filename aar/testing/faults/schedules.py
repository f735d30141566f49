"""Fault schedules drawn from a seed: team, limits, replies, service faults, controller deaths.

``fault_campaigns`` runs such a schedule, and ``ledger_comparison`` judges the result.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, TypeVar

from aar.budget.limits import Limits, ResearcherLimits
from aar.llm.price_book import PriceBook
from aar.researcher.context import ModelOptions
from aar.testing.fake_messages_api import (
    CutShort,
    Drop,
    Fault,
    HttpError,
    MessagesRequest,
    Misreport,
    ModelReply,
    OtherReply,
    Slow,
    Stall,
    StreamError,
    paused_reply,
    refusal_reply,
    text_block,
    thinking_block,
    tool_use_block,
)

T = TypeVar("T")
TEAM = 4
"""Researchers of a schedule, at most."""
SILENCE = 0.3
"""Longest silence of a stream in seconds; a stall lasts longer."""
_MODELS = ("claude-opus-5-5", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-haiku-5-5")


class Schedule:
    """The schedule of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed)  # noqa: S311 - must repeat, protects nothing
        self.model = dice.choice(_MODELS)
        self.team = dice.randint(1, TEAM)
        self.long = dice.random() < 0.3
        """Replies so long that conversations are summarised or handed over."""
        self.faulty = dice.choice([0.0, 0.1, 0.3, 0.6])
        self.max_output = dice.randint(16_000, 24_000) if self.long else dice.randint(300, 4000)
        self.fallback = dice.random() < 0.3
        self.options = ModelOptions(
            context=dice.choice(["auto", "clear", "local"]), cache=dice.choice(["auto", "5m", "1h"])
        )
        also = random.Random(f"usage:{seed}")  # noqa: S311 - must repeat, protects nothing
        self.misreports = also.choice([0.0, 0.0, 0.2, 0.7])
        """Share of complete responses with a wrong usage or model."""
        self.told = {"inference_geo": also.choice(["us", "global"])} if also.random() < 0.5 else {}
        self.lives = [self._life(dice) for _ in range(dice.randint(0, 3))]
        self.limits = self._limits(dice)

    @staticmethod
    def _life(dice: random.Random) -> tuple[str, int]:
        how = dice.choice(["kill before", "kill after", "cancel", "stop"])
        return how, dice.randint(1, 40) if how.startswith("kill") else dice.randint(1, 12)

    def _limits(self, dice: random.Random) -> Limits:
        price = PriceBook().price(self.model)
        # Of the order of one call's worst case, so that every limit is met somewhere.
        prompt = 120_000 if self.long else 40_000
        one = (prompt * price.cache_write_1h + self.max_output * price.output) / 1_000_000

        def usd(most: float) -> Decimal:
            return round(one * Decimal(str(dice.uniform(0.5, most))), 4)

        def maybe(value: T) -> T | None:
            return value if dice.random() < 0.5 else None

        return Limits(
            usd=usd((10.0 if self.long else 4.0) * self.team),
            tokens=maybe(dice.randint(prompt // 2, 20 * prompt)),
            researcher=ResearcherLimits(
                usd=maybe(usd(8.0)), tokens=maybe(dice.randint(prompt // 2, 8 * prompt)), turns=dice.randint(1, 10)
            ),
        )

    def play(self, request: MessagesRequest) -> ModelReply:
        """Return the model's reply. Its text names the request."""
        dice = random.Random(f"{self.seed}:{request.number}")  # noqa: S311 - must repeat, protects nothing
        words: list[Any] = [text_block(f"#{request.number} " + "so it goes " * dice.randint(1, 30))]
        if self.long:
            words[0]["text"] += "and on " * dice.randint(6000, 11_000)
        if (request.body.get("thinking") or {}).get("type") == "adaptive" and dice.random() < 0.7:
            words.insert(0, thinking_block("hm, " * dice.randint(1, 300)))
        tools = ("budget", "leaderboard", "post", "nonsense", "finish")
        for tool in dice.choices(tools, [4, 3, 3, 1, 0.4], k=dice.randint(0, 3)):
            given = {"post": {"kind": "insight", "title": "T", "body": "B"}, "finish": {"summary": "done"}}
            words.append(tool_use_block(tool, **given.get(tool, {})))
        if dice.random() < 0.05:
            return paused_reply(words[0])
        raw = '{"limit": ' if dice.random() < 0.05 else None
        return ModelReply(words, raw_input=raw, usage=self.told)

    def fault(self, request: MessagesRequest) -> Fault | None:
        """Return the fault of a request."""
        dice = random.Random(f"fault:{self.seed}:{request.number}")  # noqa: S311 - must repeat, protects nothing
        if dice.random() >= self.faulty:
            return self._misreport(request)
        after = dice.randint(1, 12)
        faults: list[Fault] = [
            HttpError(429, retry_after=dice.choice([0.0, 0.01, 0.05])),
            HttpError(dice.choice([500, 502, 529])),
            HttpError(dice.choice([400, 413]), "prompt is too long: so it is"),
            StreamError(after),
            Drop(None),
            Drop(after),
            Stall(after, 2 * SILENCE),
            Slow(0.001),
            CutShort(dice.randint(1, 400)),
            OtherReply(refusal_reply(f"#{request.number} I must not.")),
            OtherReply(ModelReply([], "end_turn")),
        ]
        return dice.choices(faults, [4, 4, 0.3, 2, 1, 2, 1, 1, 2, 1, 1])[0]

    def _misreport(self, request: MessagesRequest) -> Fault | None:
        dice = random.Random(f"usage:{self.seed}:{request.number}")  # noqa: S311 - must repeat, protects nothing
        if dice.random() >= self.misreports:
            return None
        wrong: Any = dice.choice([None, -3, 12.5, "12", True, [], 0])
        least: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0}
        known = {"input_tokens": dice.randint(1, 900), "output_tokens": dice.randint(1, 90)}
        shapes: list[Misreport] = [
            Misreport(start=None, end=None),
            Misreport(start={}, end={}),
            Misreport(start=least, end=least),
            Misreport(end=None),
            Misreport(end={**least, "output_tokens": wrong}),
            Misreport(start={**known, "input_tokens": wrong}, end={"output_tokens": dice.randint(1, 90)}),
            Misreport(start={**known, "cache_read_input_tokens": 10**7}, end={**known, "cache_read_input_tokens": 5}),
            Misreport(end={**known, "iterations": [{"type": "message", "input_tokens": 4}]}),
            Misreport(start="usage", end=[1]),
            Misreport(
                model=dice.choice(["claude-opus-4-1", "claude-haiku-4-5", "somebody-else", f"{self.model}-20260101"])
            ),
            Misreport(start={**known, "service_tier": "express"}, end={"output_tokens": 5}),
        ]
        return dice.choice(shapes)
