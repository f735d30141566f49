"""The interface of a tool: its run, its result, and its registration."""

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
        ctx: of the calling researcher.
        key: unique within the campaign and the same when the run is repeated after a crash: the idempotency key.
        repeated: whether an earlier controller had begun this very call.
        news_cursor: the last event whose news the researcher knows.
    """

    ctx: ResearcherContext
    key: str
    repeated: bool
    news_cursor: int


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The complete result for the model; the executor bounds the text.

    Args:
        images: image blocks that follow it.
    """

    text: str
    is_error: bool = False
    images: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the agent loop.

    Args:
        run: runs it. A wrong input or a failed service is an ``AarError``, whose text the model reads.
        about: one line on a call, for people; it is bounded afterwards.
        repeatable: whether a call that a dead controller had begun may simply be run again.
    """

    run: Callable[[ToolRun, Any], Awaitable[ToolResult]]
    about: Callable[[Any], str]
    repeatable: Callable[[Any], bool] = lambda _: True


def one_line(text: str) -> str:
    """Return a text for ``ToolStarted``: one line, bounded."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_SUMMARY_CHARACTERS else flat[: MAX_SUMMARY_CHARACTERS - 1] + "…"


def no_summary(_: ToolInput) -> str:
    """Return no summary of a call."""
    return ""
