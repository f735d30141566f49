"""What a model's name says of it."""

from __future__ import annotations

import pytest

from aar.researcher.abilities import PLAIN, abilities_of


@pytest.mark.parametrize(
    ("model", "clears", "late"),
    [
        ("claude-sonnet-5-5", True, True),
        ("claude-opus-4-6", True, True),
        ("claude-opus-4-5-20251101", True, False),
        ("claude-sonnet-4-20250514", True, False),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", True, False),
        ("claude-opus-4-8@20260501", True, True),
        ("claude-3-5-haiku-20241022", False, False),
    ],
)
def test_generations(model: str, clears: bool, late: bool) -> None:
    able = abilities_of(model)
    assert (able.clear_tool_uses, able.compaction, able.adaptive_thinking) == (clears, late, late)


def test_nothing_is_known_of_other_names() -> None:
    assert abilities_of("llama-9") == PLAIN
