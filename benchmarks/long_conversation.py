"""The conversation that ``token_bill.py`` bills: messages, clock and reported usage."""

from __future__ import annotations

import random

from aar.llm.usage import Usage
from aar.testing.fake_messages_api import (
    FakeMessagesApi,
    FunctionModel,
    MessagesRequest,
    ModelReply,
    text_block,
    thinking_block,
    tool_use_block,
)

SECONDS_A_TURN, SECONDS_OF_A_JOB, JOB_EVERY = 20.0, 900.0, 12
WORDS = ("teacher", "is", "wrong", "where", "irony", "turns", "the", "words;", "fit", "again", "on", "agreed", "items")


class Story:
    """The same conversation for every loop: the model's turns and the clock."""

    def __init__(self, turns: int) -> None:
        chance = random.Random(7)
        self.now = 0.0
        self.sizes = [chance.choices([300, 1500, 4000, 12_000], [5, 4, 3, 1])[0] for _ in range(turns)]
        self.thoughts = [self._prose(chance, chance.choice([200, 600, 1500])) for _ in range(turns)]
        self.says = [self._prose(chance, 160) for _ in range(turns)]
        self.log = self._prose(chance, 200_000)
        self.asked = 0

    @staticmethod
    def _prose(chance: random.Random, characters: int) -> str:
        text = ""
        while len(text) < characters:
            text += chance.choice(WORDS) + (f" {chance.random():.4f}\n" if chance.random() < 0.2 else " ")
        return text[:characters]

    def output(self, turn: int) -> str:
        """Return the output of a turn's command."""
        return self.log[turn * 500 :][: self.sizes[turn]]

    def play(self, request: MessagesRequest) -> ModelReply:
        """Return the model's next turn; time passes."""
        turn, self.asked = self.asked, self.asked + 1
        self.now += SECONDS_OF_A_JOB if turn % JOB_EVERY == JOB_EVERY - 1 else SECONDS_A_TURN
        if turn >= len(self.sizes):
            return ModelReply([text_block("That is all."), tool_use_block("finish", summary="done")])
        command = f"head -c {turn * 500 + self.sizes[turn]} log.txt | tail -c +{turn * 500 + 1}"
        thought = (
            [thinking_block(self.thoughts[turn])]
            if (request.body.get("thinking") or {}).get("type") == "adaptive"
            else []
        )
        return ModelReply([*thought, text_block(self.says[turn]), tool_use_block("bash", command=command)])


def double_of(story: Story, turns: int) -> FakeMessagesApi:
    """Build a strict double that plays the story at the story's clock."""
    return FakeMessagesApi(FunctionModel(story.play), clock=lambda: story.now, most_logged=4 * turns + 100)


def used(double: FakeMessagesApi) -> Usage:
    """Return the usage in all of the double's replies.

    Compaction passes are in ``iterations`` only.
    """
    total = Usage()
    for exchange in double.requests:
        usage = (exchange.answer or {}).get("usage")
        for part in (usage.get("iterations") or [usage]) if usage else []:
            created = part.get("cache_creation") or {}
            total = Usage(
                total.input_tokens + part["input_tokens"],
                total.cache_write_5m_tokens + created.get("ephemeral_5m_input_tokens", 0),
                total.cache_write_1h_tokens + created.get("ephemeral_1h_input_tokens", 0),
                total.cache_read_tokens + part.get("cache_read_input_tokens", 0),
                total.output_tokens + part["output_tokens"],
            )
    return total
