"""What the prompt cache makes of a prompt: properties of its accounts, and the rules that the service documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.testing.fake_messages_api import FakeMessagesApi, ModelReply, PromptCache, get_model_spec, thinking_block
from aar.testing.fake_messages_api.prompt_cache import LOOKBACK, CacheUse, cache_errors, prompt_segments
from aar.testing.fake_messages_api.request import read_request

from .conftest import Talking

MODEL = "claude-sonnet-4-6"
LEAST = get_model_spec(MODEL).least_cached
BIG = "x" * 4 * LEAST


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def text(content: str, ttl: str = "") -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}
    return {"type": "text", "text": content, **mark}


def tool(name: str, ttl: str = "") -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}
    return {"name": name, "description": BIG, "input_schema": {"type": "object"}, **mark}


def body(*turns: dict[str, Any] | list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A conversation whose messages take turns."""
    messages = [
        {"role": ("user", "assistant")[index % 2], "content": turn if isinstance(turn, list) else [turn]}
        for index, turn in enumerate(turns)
    ]
    return {"model": MODEL, "messages": messages, **more}


def use(cache: PromptCache, request: dict[str, Any]) -> CacheUse:
    read = read_request(request)
    assert not list(cache_errors(read))
    return cache.use(prompt_segments(read), get_model_spec(read.model).least_cached)


def counted(request: dict[str, Any]) -> int:
    return sum(segment.tokens for segment in prompt_segments(read_request(request)))


texts = st.text("ab \né", min_size=1, max_size=3000)


@settings(deadline=None)
@given(
    st.lists(st.tuples(texts, st.sampled_from(["", "", "5m"])), min_size=1, max_size=12),
    st.lists(st.floats(0, 400), min_size=12, max_size=12),
)
def test_kinds_add_up_to_the_prompt(turns: list[tuple[str, str]], waits: list[float]) -> None:
    clock = Clock()
    cache = PromptCache(clock)
    marks_left = 4
    sent: list[dict[str, Any]] = []
    for (content, ttl), wait in zip(turns, waits, strict=False):
        clock.now += wait
        marks_left -= bool(ttl)
        sent.append(text(content, ttl if marks_left >= 0 else ""))
        request = body(*sent)
        used = use(cache, request)
        assert used.total == counted(request)
        assert min(used.fresh, used.read, used.written_5m, used.written_1h) >= 0
        again = use(cache, request)
        assert again.written_5m == again.written_1h == 0
        assert again.read == used.read + used.written_5m + used.written_1h


@settings(deadline=None)
@given(st.lists(texts, min_size=2, max_size=30), st.sampled_from(["5m", "1h"]))
def test_a_growing_conversation_reads_what_it_wrote(contents: list[str], ttl: str) -> None:
    cache = PromptCache(Clock())
    tools = [tool("bash")]
    kept = 0
    for at in range(0, len(contents), 2):
        turns = [text(content) for content in contents[: at + 1]]
        turns[-1] = text(contents[at], ttl)
        used = use(cache, body(*turns, tools=tools))
        assert used.read == kept
        assert used.fresh == 0
        kept = used.total


def test_a_changed_tool_changes_everything_after_it() -> None:
    cache = PromptCache(Clock())
    system = [text(BIG, "5m")]

    def ask(*tools: dict[str, Any], system: list[dict[str, Any]] = system, **more: Any) -> CacheUse:
        return use(cache, body(text(BIG, "5m"), tools=list(tools), system=system, **more))

    first = ask(tool("bash", "5m"))
    assert first.written_5m == first.total
    assert ask(tool("bash", "5m")).read == first.total
    assert ask(tool("look", "5m")).read == 0
    assert ask(tool("other"), tool("bash", "5m")).read == 0
    of_tools = counted(body(text("x"), tools=[tool("bash")])) - 1
    assert ask(tool("bash", "5m"), system=[text("Y" + BIG, "5m")]).read == of_tools
    of_system = of_tools + counted(body(text("x"), system=system)) - 1
    for change in ({"tool_choice": {"type": "any"}}, {"thinking": {"type": "adaptive"}}):
        assert ask(tool("bash", "5m"), **change).read == of_system
    assert ask(tool("bash", "5m"), speed="fast").read == of_tools
    assert ask(tool("bash", "5m"), model="claude-opus-4-8").read == 0


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 300), ("1h", 3600)])
def test_entries_expire_and_reading_renews_them(ttl: str, seconds: float) -> None:
    clock = Clock()
    cache = PromptCache(clock)
    request = body(text(BIG, ttl))
    first = use(cache, request)
    assert (first.written_5m, first.written_1h) == ((LEAST, 0) if ttl == "5m" else (0, LEAST))
    for _ in range(3):
        clock.now += seconds - 1
        assert use(cache, request).read == LEAST
    clock.now += seconds
    assert use(cache, request).read == 0


def test_short_prompts_are_not_kept() -> None:
    cache = PromptCache(Clock())
    request = body(text(BIG[:-4], "5m"))
    for _ in range(2):
        assert use(cache, request) == CacheUse(fresh=LEAST - 1)


def test_an_entry_is_looked_for_twenty_blocks_back() -> None:
    for between, read in ((LOOKBACK - 1, LEAST), (LOOKBACK, 0)):
        cache = PromptCache(Clock())
        use(cache, body([text(BIG, "5m")]))
        later = [text(BIG), *[text(f"{n}") for n in range(between - 1)], text("end", "5m")]
        assert use(cache, body(later)).read == read


def test_an_hour_and_five_minutes_are_billed_apart() -> None:
    cache = PromptCache(Clock())
    request = body(text("y" * 400, "5m"), system=[text(BIG, "1h")])
    assert use(cache, request) == CacheUse(written_1h=LEAST, written_5m=100)


def test_marks_are_no_part_of_the_prefix() -> None:
    cache = PromptCache(Clock())
    use(cache, body(text(BIG, "5m")))
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text("a", "5m")]}
    moved = body(text(BIG), text("b"), [result])
    assert use(cache, moved).read == LEAST
    plain = body(text(BIG), text("b"), [{**result, "content": [text("a")]}, text("c", "5m")])
    assert use(cache, plain).read == LEAST + 1 + 2


def test_a_mark_of_the_request_goes_to_the_last_block_that_can_have_it() -> None:
    automatic = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    request = body(text(BIG), [text("so"), thought], **automatic)
    assert use(PromptCache(Clock()), request) == CacheUse(written_1h=LEAST + 1, fresh=1)


@pytest.mark.anyio
async def test_usage_over_the_wire_agrees_with_counting(talking: Talking) -> None:
    clock = Clock()
    replies: Any = [ModelReply([thinking_block("hm"), "Done."]), "Done."]
    asked: dict[str, Any] = {"model": MODEL, "system": [text(BIG, "1h")], "thinking": {"type": "adaptive"}}
    messages: list[Any] = [{"role": "user", "content": [text("Hello " * 30, "5m")]}]
    async with talking(FakeMessagesApi(replies, clock=clock)) as (client, _):
        first = await client.messages.create(max_tokens=99, messages=messages, **asked)
        messages += [first.to_param(), {"role": "user", "content": [text("And? " * 30, "5m")]}]
        clock.now = 299
        total = await client.messages.count_tokens(messages=messages, **asked)
        second = await client.messages.create(max_tokens=99, messages=messages, **asked)
    written = first.usage.cache_creation
    assert written is not None
    assert (written.ephemeral_1h_input_tokens, written.ephemeral_5m_input_tokens) == (LEAST, 45)
    usage = second.usage
    assert usage.cache_read_input_tokens == LEAST + 45
    parts = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    assert sum(part or 0 for part in parts) == total.input_tokens


def test_keys_do_not_share_a_cache() -> None:
    cache = PromptCache(Clock())
    for key, read in (("a", 0), ("b", 0), ("a", LEAST)):
        request = read_request(body(text(BIG, "5m")), key=key)
        assert cache.use(prompt_segments(request), LEAST).read == read
