"""Bills a long conversation in this project's loop, a naive loop, and inspect_ai.

inspect_ai uses its Anthropic provider.

Usage: python benchmarks/token_bill.py [TURNS] [--model ID] [--context auto|clear|local] [--ours-alone]
(160 turns of claude-opus-5-5 by default)

All three have the same conversation with the contract double of the Messages API (``aar.testing.fake_messages_api``):
the same thinking, words, bash commands and outputs, in shapes taken from agent transcripts (many short outputs, some of
12 kB; 20 seconds a turn; every twelfth turn waits 15 minutes for a job). The double counts tokens, and what its prompt
cache holds at its own clock; the bill follows from the usage in its answers at the price library's prices.

naive: the whole conversation at every turn, no caching, no context management. inspect: ``Model.generate`` with its
own cache breakpoints (``cache_prompt`` as it is by default), if inspect_ai is installed. ``--context`` is the spec's
``researchers.context``: the way in which this project's loop shortens the conversation.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic
from long_conversation import Story, double_of, used

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.llm.capabilities import capabilities_by_name
from aar.llm.gateway import Gateway
from aar.llm.price_book import PriceBook
from aar.llm.request import CacheTtlPolicy
from aar.llm.usage import Usage
from aar.problems.registry import find_problem
from aar.researcher import conversation
from aar.researcher.context import ModelOptions, ResearcherContext
from aar.researcher.loop import run_researcher
from aar.researcher.prompts import system_prompt
from aar.researcher.tools.definitions import tool_definitions
from aar.researcher.tools.executor import RESULT_CHARACTERS
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.sandbox.protocol import Sandbox, SandboxSpec
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.models import Campaign, Researcher
from aar.testing.fake_messages_api import serve_app

CAMPAIGN = "bill01"


class Keeper:
    """The provider of the benchmark's one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def current(self) -> Sandbox:
        """Return the sandbox."""
        return self._sandbox

    async def lost(self, cause: str) -> None:
        """Ignore the loss: the sandbox is never lost."""
        raise RuntimeError(cause)


class Direction:
    """The direction of the researcher."""

    key, text = "noise", "Think of weak labels as a noisy channel."


def context_of(
    base_url: str, model: str, folder: Path, db: Any, sandbox: Any, options: ModelOptions, **more: Any
) -> Any:
    """Return the researcher's context."""
    ledger = Ledger(db, CAMPAIGN, Limits(usd=Decimal(10_000)), PriceBook())
    return ResearcherContext(
        campaign_id=CAMPAIGN,
        researcher_id=f"{CAMPAIGN}-r1",
        name="r1",
        model=model,
        direction=Direction(),
        problem=find_problem("weak_to_strong"),
        db=db,
        ledger=ledger,
        gateway=Gateway(base_url),
        sandbox=sandbox,
        snapshots=SnapshotStore(folder / "snapshots"),
        scorer=None,  # type: ignore[arg-type]
        stopping=asyncio.Event(),
        capabilities=capabilities_by_name(model),
        options=options,
        **more,
    )


async def ours(turns: int, model: str, options: ModelOptions, context_tokens: int) -> Usage:
    """Run this project's loop, with tools in a real sandbox and a real ledger."""
    story = Story(turns)
    double = double_of(story, turns)
    conversation.CacheTtlPolicy = partial(CacheTtlPolicy, clock=lambda: story.now)  # type: ignore[misc, assignment]
    backend = BubblewrapBackend()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        db = open_database(f"sqlite:///{folder / 'aar.db'}")
        with db.writing() as session:
            session.add(Campaign(id=CAMPAIGN, name="b", problem="b", spec={}, state="running", secret="s" * 64))
            session.flush()
            identity = {"id": f"{CAMPAIGN}-r1", "name": "r1", "index": 1, "direction_key": "noise"}
            session.add(Researcher(**identity, campaign_id=CAMPAIGN, direction="d", model=model, state="running"))
        workspace = folder / "workspace"
        sandbox = await backend.create(SandboxSpec(name="bill", campaign_id=CAMPAIGN, workspace=workspace))
        try:
            await sandbox.write("/workspace/log.txt", story.log.encode())
            await sandbox.write("/workspace/NOTEBOOK.md", story.log[:6000].encode())
            async with serve_app(double) as base_url:
                ctx = context_of(base_url, model, folder, db, Keeper(sandbox), options, context_tokens=context_tokens)
                outcome = await run_researcher(ctx)
                await ctx.gateway.close()
            with db.reading() as session:
                billed = read_totals(session, CAMPAIGN).campaign
        finally:
            await sandbox.destroy()
            await backend.close()
            db.close()
    assert outcome.reason == "finished", outcome
    total = used(double)
    assert billed.tokens.total == total.total, (billed.tokens, total)
    return total


def _prompt(model: str) -> str:
    ctx: Any = context_of("http://127.0.0.1:1", model, Path("/nowhere"), None, None, ModelOptions())
    return "\n\n".join(system_prompt(ctx))


async def naive(turns: int, model: str) -> Usage:
    """Run a loop that sends everything at every turn, without a cache."""
    story = Story(turns)
    double = double_of(story, turns)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Begin."}]
    async with serve_app(double) as base_url, AsyncAnthropic(base_url=base_url, api_key="none") as client:
        for turn in range(turns + 1):
            async with client.messages.stream(
                model=model,
                max_tokens=8192,
                system=_prompt(model),
                tools=tool_definitions(),  # type: ignore[arg-type]
                thinking={"type": "adaptive"},
                messages=messages,  # type: ignore[arg-type]
            ) as stream:
                message = await stream.get_final_message()
            if turn == turns:
                break
            asked = next(block for block in message.content if block.type == "tool_use")
            result = {"type": "tool_result", "tool_use_id": asked.id, "content": story.output(turn)}
            messages.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
            messages.append({"role": "user", "content": [result]})
    return used(double)


async def inspect(turns: int, model: str) -> Usage:
    """Run inspect_ai's provider with its own caching."""
    from inspect_ai.model import (
        ChatMessage,
        ChatMessageSystem,
        ChatMessageTool,
        ChatMessageUser,
        GenerateConfig,
        get_model,
    )
    from inspect_ai.tool import ToolInfo, ToolParam, ToolParams

    story = Story(turns)
    double = double_of(story, turns)
    tools = [
        ToolInfo(
            name=str(each["name"]),
            description=str(each.get("description", "Runs it.")),
            parameters=ToolParams(properties={"command": ToolParam(type="string", description="what")}),
        )
        for each in tool_definitions()
    ]
    messages: list[ChatMessage] = [ChatMessageSystem(content=_prompt(model)), ChatMessageUser(content="Begin.")]
    async with serve_app(double) as base_url:
        config = GenerateConfig(max_tokens=8192, reasoning_effort="medium")
        asked = get_model(f"anthropic/{model}", base_url=base_url, api_key="none", config=config)
        for turn in range(turns + 1):
            output = await asked.generate(messages, tools=tools)
            messages.append(output.message)
            if turn == turns:
                break
            called = (output.message.tool_calls or [])[0]
            messages.append(
                ChatMessageTool(content=story.output(turn), tool_call_id=called.id, function=called.function)
            )
    return used(double)


def show(name: str, usage: Usage, model: str, beside: Decimal | None) -> Decimal:
    """Print a line; returns the bill."""
    usd = PriceBook().cost(model, usage)
    cached = 100 * usage.cache_read_tokens / usage.prompt_tokens
    share = "" if beside is None else f", {100 * usd / beside:.0f} % of naive"
    print(
        f"{name:<8} ${usd:8.2f}{share}: {usage.prompt_tokens:,} input tokens, {cached:.1f} % read from the cache, "
        f"{usage.cache_write_5m_tokens + usage.cache_write_1h_tokens:,} written "
        f"({usage.cache_write_1h_tokens:,} for an hour), {usage.input_tokens:,} plain; {usage.output_tokens:,} output",
        flush=True,
    )
    return usd


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the conversation three times and print the bills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", type=int, nargs="?", default=160)
    parser.add_argument("--model", default="claude-opus-5-5")
    parser.add_argument("--context", choices=("auto", "clear", "local"), default="auto")
    parser.add_argument("--context-tokens", type=int, default=90_000)
    parser.add_argument("--ours-alone", action="store_true")
    given = parser.parse_args(arguments)
    assert max(Story(given.turns).sizes) <= RESULT_CHARACTERS
    plain = None if given.ours_alone else show("naive", asyncio.run(naive(given.turns, given.model)), given.model, None)
    options = ModelOptions(context=given.context)
    show("aar", asyncio.run(ours(given.turns, given.model, options, given.context_tokens)), given.model, plain)
    if given.ours_alone:
        return
    if importlib.util.find_spec("inspect_ai") is None:
        print("inspect  not installed: pip install inspect_ai")
        return
    show("inspect", asyncio.run(inspect(given.turns, given.model)), given.model, plain)


if __name__ == "__main__":
    main()
