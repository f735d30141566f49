"""Tool definitions for models: names, descriptions, and input models that become JSON schemas.

The first two are Anthropic's own client tool types. Every other tool has a pydantic model here, whose schema is sent to
the model and which validates its calls. First lines of results are stable, so that a program can play a researcher:

==================  =====================================================================================
tool                first line of its result
==================  =====================================================================================
start_job           ``Job j1 started.``
wait (submission)   ``s3 measured: PGR 0.31 ± 0.02``, ``s3 rejected: <verdict>`` or ``s3 is still <state>.``
wait (job)          ``Job j1 exited with code 0.`` or ``Job j1 is still running.``
wait (news)         ``News:`` or ``No news.``
submit_method       ``Submission s3 received, snapshot <12 hex digits>.``
leaderboard         ``rank  submission  researcher  PGR  error  status  band  labels  families  title``, then rows
post, comment       ``Post #7 created.``, ``Comment on #7 created.``
edit_post           ``Post #7 edited.``, ``Comment 9 on #7 edited.`` or, with a retraction, ``... retracted.``
claim               ``Claim 3 holds until 14:05 UTC.`` or ``Claim 3 ended.``
fetch_snapshot      ``Snapshot <12 hex digits> written to <directory>:``
budget              ``spent $1.20 of $5.00 (campaign) ...``
==================  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from aar.events import ToolStarted, TurnReceived
from aar.families import FAMILIES
from aar.forum.views import MAX_FAMILIES
from aar.llm.content import ToolCall, tool_calls_of
from aar.researcher.context import ResearcherContext
from aar.text import SUBMISSION_PATTERN

EDITOR = "str_replace_based_edit_tool"
"""Name that Anthropic's text-editor tool type prescribes."""

_OF = f"The leading one first, of: {', '.join(FAMILIES)}."
_ANTHROPIC_TYPES = {"bash": "bash_20250124", EDITOR: "text_editor_20250728"}
MAX_SUMMARY_CHARACTERS = 160


def _without_nul(what: str) -> AfterValidator:
    """Refuse a NUL character, which no system call accepts, before anything is sent."""

    def check(text: str) -> str:
        if "\0" in text:
            raise ValueError(f"the {what} contains a NUL character")
        return text

    return AfterValidator(check)


ShellCommand = Annotated[str, _without_nul("command")]
"""A command for bash."""
SandboxPath = Annotated[str, _without_nul("path")]
"""A path inside the sandbox."""


class ToolInput(BaseModel):
    """The base class of all tool inputs.

    It refuses unknown fields, so that a misspelt one is noticed.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", populate_by_name=True)

    @property
    def summary_line(self) -> str:
        """Return the call for people; it is bounded afterwards."""
        return ""

    @property
    def repeatable(self) -> bool:
        """Return whether a call that a dead controller had begun may simply be run again."""
        return True


class BashInput(ToolInput):
    command: ShellCommand | None = None
    restart: bool = False

    @property
    def summary_line(self) -> str:
        return "restart" if self.restart else self.command or ""

    @property
    def repeatable(self) -> bool:
        return self.restart


class EditorInput(ToolInput):
    command: Literal["view", "create", "str_replace", "insert"]
    path: SandboxPath = Field(min_length=1, max_length=4096)
    view_range: tuple[int, int] | None = None
    file_text: str | None = None
    old_str: str | None = None
    new_str: str | None = None
    insert_line: int | None = Field(default=None, ge=0)
    insert_text: str | None = None

    @property
    def summary_line(self) -> str:
        return f"{self.command} {self.path}"

    @property
    def repeatable(self) -> bool:
        return self.command in ("view", "create")


class StartJobInput(ToolInput):
    """Start a command in the background and return its job id at once.

    Use it for anything longer than about two minutes, then `wait` for it. The job is killed after `timeout_minutes`.
    """

    command: ShellCommand = Field(min_length=1, description="Command for bash, run in /workspace.")
    timeout_minutes: float = Field(default=60, gt=0, le=24 * 60)

    @property
    def summary_line(self) -> str:
        return self.command

    @property
    def repeatable(self) -> bool:
        return False


class JobOutputInput(ToolInput):
    """Show a job's state and output so far.

    The middle of long output is left out; a file has all of it.
    """

    job: str = Field(min_length=1, max_length=100, description="Job id from start_job.")

    @property
    def summary_line(self) -> str:
        return self.job


class StopJobInput(ToolInput):
    """Kill a job and everything it started."""

    job: str = Field(min_length=1, max_length=100, description="Job id from start_job.")

    @property
    def summary_line(self) -> str:
        return self.job


class WaitInput(ToolInput):
    """Sleep until something happens.

    It costs no tokens, however long it takes. `submission` waits for a score, `job` for a job's end, `news` for new
    posts or messages, `time` for the given seconds. After `timeout_seconds` it returns the current state.
    """

    for_: Literal["submission", "job", "news", "time"] = Field(alias="for")
    id: str | None = Field(default=None, max_length=100, description="s<number> for a submission, job id for a job.")
    timeout_seconds: float = Field(default=900, gt=0, le=6 * 3600)

    @property
    def summary_line(self) -> str:
        return f"for {self.id or self.for_}, at most {self.timeout_seconds:g} s"


class SubmitMethodInput(ToolInput):
    """Submit the method in a directory of the workspace (run.py, method.yaml) for scoring.

    Code, claim and hypothesis are frozen now. The score comes later, on fresh seeds and splits: `wait` for it.
    Submissions may be limited: see `budget`.
    """

    path: SandboxPath = Field(
        min_length=1, max_length=4096, description="Directory of the method, such as /workspace/method."
    )
    parent: str | None = Field(
        default=None, max_length=64, description="Submission (s3) or snapshot digest that this method builds on."
    )

    @property
    def summary_line(self) -> str:
        return self.path


class LeaderboardInput(ToolInput):
    """Show the measured submissions of all researchers, best first, rounded.

    Scores within one band cannot be distinguished; a confirmed row leads.
    """

    limit: int = Field(default=20, ge=1, le=100)

    @property
    def summary_line(self) -> str:
        return f"top {self.limit}"


class PostInput(ToolInput):
    """Publish a finding on the forum for the other researchers.

    Negative results are as useful as positive ones. All posts are mirrored as files under /forum. `s7`, `#12` and `@r2`
    in a text refer to a submission, a post and a researcher; a mention comes first in that researcher's news.
    `![caption](plots/loss.png)` shows an image of the workspace (PNG, JPEG, GIF or WebP, at most 512 KiB),
    `![caption](figure:DIGEST)` one of the forum.
    """

    kind: Literal["hypothesis", "result", "insight", "error", "question"]
    title: str = Field(min_length=1)
    body: str = Field(min_length=1, description="Markdown.")
    submission: str | None = Field(default=None, pattern=SUBMISSION_PATTERN, description="s<number>")
    families: list[str] = Field(
        default_factory=list, max_length=MAX_FAMILIES, description=f"Idea families of the post. {_OF}"
    )

    @property
    def summary_line(self) -> str:
        return f"[{self.kind}] {self.title}"


class CommentInput(ToolInput):
    """Comment on a post; images are shown as in posts."""

    post: int = Field(ge=1, description="Number of the post, without #.")
    body: str = Field(min_length=1, description="Markdown.")

    @property
    def summary_line(self) -> str:
        return f"on #{self.post}"


class VoteInput(ToolInput):
    """Vote a post up or down; voting again replaces the vote."""

    post: int = Field(ge=1, description="Number of the post, without #.")
    value: Literal[1, -1]

    @property
    def summary_line(self) -> str:
        return f"{self.value:+d} on #{self.post}"


class EditPostInput(ToolInput):
    """Correct your own post or comment, or retract it with a reason if it proved wrong.

    Earlier versions stay readable. Name `comment` to change a comment on the post.
    """

    post: int = Field(ge=1, description="Number of the post, without #.")
    comment: int | None = Field(default=None, ge=1, description="Number of the comment, as in the post's file.")
    title: str | None = Field(default=None, min_length=1, description="New title of a post.")
    body: str | None = Field(
        default=None, min_length=1, description="Complete new text as Markdown; images as in posts."
    )
    families: list[str] | None = Field(
        default=None, max_length=MAX_FAMILIES, description=f"New families of a post. {_OF}"
    )
    retract: str | None = Field(
        default=None, min_length=1, description="Reason of the retraction, instead of a new text."
    )

    @property
    def summary_line(self) -> str:
        return f"#{self.post}" + (" retracted" if self.retract else "")


class ClaimInput(ToolInput):
    """Claim the topic of your work for the next hours, or end a claim of yours.

    A claim lets others choose another topic. /forum/CLAIMS.md lists the claims of others. The same topic again changes
    the claim's end.
    """

    topic: str | None = Field(default=None, min_length=1, description="One line: the idea that you work on.")
    hours: float = Field(default=2, gt=0, le=24)
    release: int | None = Field(default=None, ge=1, description="Number of a claim to end; instead of a topic.")

    @property
    def summary_line(self) -> str:
        return self.topic or f"release {self.release}"


class FetchSnapshotInput(ToolInput):
    """Copy the frozen code of any submission or snapshot into a new directory of the workspace, to read or build on."""

    snapshot: str = Field(min_length=2, max_length=64, description="s<number>, or the first digits of a digest.")
    into: SandboxPath | None = Field(
        default=None, max_length=4096, description="New directory; default /workspace/fetched/<snapshot>."
    )

    @property
    def summary_line(self) -> str:
        return self.snapshot


class BudgetInput(ToolInput):
    """Show the spent and the remaining budget: dollars, tokens, turns, submissions."""


class FinishInput(ToolInput):
    """End your work for good.

    Call it only when no useful work is left within the limits.
    """

    summary: str = Field(min_length=1, description="Findings, for the report.")

    @property
    def summary_line(self) -> str:
        return self.summary


INPUTS: dict[str, type[ToolInput]] = {
    "bash": BashInput,
    EDITOR: EditorInput,
    "start_job": StartJobInput,
    "wait": WaitInput,
    "job_output": JobOutputInput,
    "stop_job": StopJobInput,
    "submit_method": SubmitMethodInput,
    "leaderboard": LeaderboardInput,
    "post": PostInput,
    "comment": CommentInput,
    "vote": VoteInput,
    "edit_post": EditPostInput,
    "claim": ClaimInput,
    "fetch_snapshot": FetchSnapshotInput,
    "budget": BudgetInput,
    "finish": FinishInput,
}
"""Every tool by name, in the order of the definitions; the order never changes within a conversation."""


@lru_cache(maxsize=1)
def tool_definitions() -> tuple[dict[str, Any], ...]:
    """Return the ``tools`` of every model call.

    They are the same bytes each time, so that the prompt cache stays valid.
    """
    return tuple(_definition(name, model) for name, model in INPUTS.items())


def _definition(name: str, model: type[ToolInput]) -> dict[str, Any]:
    if name in _ANTHROPIC_TYPES:
        return {"type": _ANTHROPIC_TYPES[name], "name": name}
    schema = _without_titles(model.model_json_schema(by_alias=True))
    description = " ".join(schema.pop("description").split())
    return {"name": name, "description": description, "input_schema": schema}


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    cleaned = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    properties = cleaned.get("properties", {})
    if properties:
        cleaned["properties"] = {key: _without_titles(value) for key, value in properties.items()}
    return cleaned


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


def first_tool_started(turn: TurnReceived) -> ToolStarted | None:
    """Return the start event of a turn's first call, which is logged with the turn.

    It is None if it will not run.
    """
    for call in tool_calls_of(turn)[:1]:
        if call.cut_off or call.name not in INPUTS:
            return None
        try:
            return tool_started(call, INPUTS[call.name].model_validate(call.input))
        except ValidationError:
            return None
    return None


def tool_started(call: ToolCall, given: ToolInput) -> ToolStarted:
    """Return the start event of a call: its summary is one line, bounded."""
    line = " ".join(given.summary_line.split())
    if len(line) > MAX_SUMMARY_CHARACTERS:
        line = line[: MAX_SUMMARY_CHARACTERS - 1] + "…"
    return ToolStarted(tool_use_id=call.id, tool=call.name, about=line)
