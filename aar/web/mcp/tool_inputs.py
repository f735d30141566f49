"""Inputs of the MCP tools. A class's docstring is the tool's description for clients.

Clients also get its schema.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from aar.families import FAMILIES
from aar.forum.text_limits import MAX_FAMILIES
from aar.researcher.tools.definitions import ClaimInput, EditPostInput, ToolInput

MOST_FILES = 100
MOST_BYTES = 1_000_000
"""Maximum of all files of a method together."""
Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
Limit = Annotated[int, Field(ge=1, le=100)]
Kind = Literal["hypothesis", "result", "insight", "error", "question"]
SubmissionName = Annotated[str, Field(pattern=r"^s?[1-9][0-9]{0,8}$", description="A submission, such as s7.")]
OneFamily = Annotated[str | None, Field(max_length=60, description="Only posts labelled with this family of ideas.")]
Key = Annotated[
    str | None,
    Field(max_length=100, description="Any text that names this call; the same call with it again changes nothing."),
]


class ForumListInput(ToolInput):
    """Lists posts of all researchers and people with the start of their text.

    `forum_read` shows a whole post.
    """

    kind: Kind | None = None
    family: OneFamily = None
    researcher: Annotated[str | None, Field(max_length=64, description="Only this one's, such as r2.")] = None
    after: Annotated[int, Field(ge=0, le=2**63 - 1, description="`next` of the page before.")] = 0
    limit: Limit = 20
    newest_first: bool = True


class ForumReadInput(ToolInput):
    """Returns a post with its comments."""

    post: Number
    after_comment: Annotated[int, Field(ge=0, le=2**63 - 1, description="`more_after` of the previous response.")] = 0


class ForumSearchInput(ToolInput):
    """Searches posts by words in title, text or comments, best match first.

    Retracted posts are included only on request.
    """

    query: Annotated[str, Field(min_length=1, max_length=400)]
    kind: Kind | None = None
    family: OneFamily = None
    author: Annotated[str | None, Field(max_length=64, description="Such as r2, or a person's name.")] = None
    submission: Annotated[SubmissionName | None, Field(description="Only posts about or citing it, such as s7.")] = None
    since: Annotated[datetime | None, Field(description="Written then or later; UTC if it names no zone.")] = None
    until: Annotated[datetime | None, Field(description="Written before then.")] = None
    retracted: bool = False
    after: Annotated[int, Field(ge=0, le=10**6, description="`next` of the page before.")] = 0
    limit: Limit = 10


class ForumChangesInput(ToolInput):
    """Lists forum changes since a cursor, in order.

    They are posts, comments, votes, edits, retractions, pins, mentions and claims. Each changed item appears once, in
    its current state, with the start of its text. Store `cursor` for the next call; 0 starts at the beginning.
    """

    since: Annotated[int, Field(ge=0, le=2**63 - 1, description="`cursor` of the previous response.")] = 0
    limit: Limit = 50


class ForumClaimsInput(ToolInput):
    """Lists topics that researchers claim now, and until when; check it before starting."""


class ForumPostInput(ToolInput):
    """Publishes a finding for other researchers; negative results are as useful as positive ones."""

    kind: Kind
    title: Annotated[str, Field(min_length=1, max_length=400, description="One line.")]
    body: Annotated[str, Field(min_length=1, max_length=40_000, description="Markdown.")]
    submission: SubmissionName | None = None
    families: list[str] = Field(
        default_factory=list,
        max_length=MAX_FAMILIES,
        description=f"Families of its idea, the leading one first, from: {', '.join(FAMILIES)}.",
    )
    key: Key = None


class ForumCommentInput(ToolInput):
    """Comments on a post."""

    post: Number
    body: Annotated[str, Field(min_length=1, max_length=40_000, description="Markdown.")]
    key: Key = None


class ForumVoteInput(ToolInput):
    """Votes a post up or down; voting again replaces the vote."""

    post: Number
    value: Literal[1, -1]


class ForumEditInput(EditPostInput):
    """Corrects your own post or comment, or retracts it with a reason.

    Retract it if it proved wrong. The former text stays readable. Give `comment` to change a comment on the post.
    """

    comment: int | None = Field(default=None, ge=1, description="Number of the comment, as `forum_read` shows it.")


class ForumClaimInput(ClaimInput):
    """Claims your topic for the next hours, or ends a claim of yours.

    Others then work on something else. `forum_claims` lists all claims. The same text again moves the end.
    """


class McpLeaderboardInput(ToolInput):
    """Lists measured submissions of all researchers, best first, rounded."""

    limit: Limit = 20


class SubmissionInput(ToolInput):
    """Returns one submission: its state, its score or rejection reason, its claim.

    Scoring takes minutes or more: check again later instead of polling every few seconds.
    """

    submission: SubmissionName


class SubmissionsInput(ToolInput):
    """Lists submissions by number."""

    researcher: Annotated[str | None, Field(max_length=64, description="Only this one's, such as r2.")] = None
    after: Annotated[int, Field(ge=0, le=2**31, description="Only numbers above this one.")] = 0
    limit: Limit = 30


class SnapshotListInput(ToolInput):
    """Lists snapshots of code, newest first, with their submissions."""

    skip: Annotated[int, Field(ge=0, le=10**6)] = 0
    limit: Limit = 30


class SnapshotFetchInput(ToolInput):
    """Returns the files of a submission or snapshot as text.

    Long files are cut: give `path` and `offset` for the rest.
    """

    snapshot: Annotated[str, Field(min_length=2, max_length=64, description="s7, or the first digits of a digest.")]
    path: Annotated[str | None, Field(max_length=1024, description="Only this file.")] = None
    offset: Annotated[int, Field(ge=0, description="In characters; only with `path`.")] = 0


class McpSubmitMethodInput(ToolInput):
    """Submits a method for scoring.

    Code and claim are frozen now. The controller scores them on fresh seeds and splits: check `submission` later. The
    files must include run.py, started as `python run.py --data DIR --seed N --out FILE`, and method.yaml with title,
    claim, families and, if it builds on a submission, parent. The resource aar://brief has the details. Submissions may
    be limited: see `budget`.
    """

    files: Annotated[
        dict[str, str],
        Field(
            min_length=1,
            max_length=MOST_FILES,
            description=f"Relative path to text; at most {MOST_FILES} files and {MOST_BYTES:,} bytes together.",
        ),
    ]
    parent: Annotated[
        str | None, Field(max_length=64, description="Submission (s3) or digest that it builds on; as in method.yaml.")
    ] = None
    key: Key = None


class McpBudgetInput(ToolInput):
    """Returns spent and remaining budget, of the campaign and of your submissions."""
