from anthropic.types import Message
from anthropic.types.beta import BetaMessage

from aar.llm.usage import Usage, parse_usage

_SHELL = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [], "stop_reason": "end_turn"}


def _told(**usage: object) -> dict[str, object]:
    """As the SDK's own types have it."""
    return Message.model_validate({**_SHELL, "usage": usage}).usage.to_dict()


def test_plain_call() -> None:
    usage = parse_usage(_told(input_tokens=10, output_tokens=4))
    assert (usage.input_tokens, usage.output_tokens, usage.total, usage.tier_tokens) == (10, 4, 14, 10)


def test_every_kind_is_kept_apart() -> None:
    usage = parse_usage(
        _told(
            input_tokens=1,
            output_tokens=2,
            cache_creation_input_tokens=7,
            cache_creation={"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            cache_read_input_tokens=8,
            server_tool_use={"web_search_requests": 5, "web_fetch_requests": 9},
        )
    )
    assert usage == Usage(1, 4, 3, 8, 2, 5, largest_prompt=16)


def test_cache_writes_of_unknown_lifetime_count_as_the_dearer_kind() -> None:
    usage = parse_usage(_told(input_tokens=1, output_tokens=2, cache_creation_input_tokens=7))
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (0, 7)


def test_compaction_is_billed_though_no_top_level_figure_holds_it() -> None:
    step = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    message = BetaMessage.model_validate(
        {
            **_SHELL,
            "usage": {
                "input_tokens": 3000,
                "output_tokens": 100,
                "iterations": [
                    {"type": "compaction", "input_tokens": 150_000, "output_tokens": 3000, **step},
                    {"type": "message", "input_tokens": 3000, "output_tokens": 100, **step},
                ],
            },
        }
    )
    usage = parse_usage(message.usage.to_dict())
    assert (usage.input_tokens, usage.output_tokens) == (153_000, 3100)
    assert usage.tier_tokens == 150_000
