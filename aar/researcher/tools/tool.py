"""What a tool is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aar.researcher.context import ResearcherContext
from aar.researcher.tools.definitions import ToolInput

MAX_SUMMARY_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run of a tool.

    Args:
        ctx: of the researcher who called it.
        key: unique within the campaign and the same when the run is repeated after a crash: the idempotency key.
        repeated: whether an earlier controller had begun this very call.
        news_cursor: up to which event the researcher knows the news.
    """

    ctx: ResearcherContext
    key: str
    repeated: bool
    news_cursor: int


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model reads, whole; the toolbox bounds the text.

    Args:
        images: image blocks that follow it.
    """

    text: str
    is_error: bool = False
    images: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the loop runs it.

    Args:
        run: carries it out. A wrong input or a failed service is an ``AarError``, whose text the model reads.
        about: one line on a call, for people; it is bounded afterwards.
        repeatable: whether a call that a dead controller had begun may simply be run again.
    """

    run: Callable[[ToolRun, Any], Awaitable[ToolResult]]
    about: Callable[[Any], str]
    repeatable: Callable[[Any], bool] = lambda _: True


def one_line(text: str) -> str:
    """Text for ``ToolStarted``: one line, bounded."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_SUMMARY_CHARACTERS else flat[: MAX_SUMMARY_CHARACTERS - 1] + "…"


def no_summary(_: ToolInput) -> str:
    """Nothing to say about a call."""
    return ""
