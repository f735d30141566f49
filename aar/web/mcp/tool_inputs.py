"""What each tool accepts. A class's text is what a client reads about the tool; its schema is sent along."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from aar.families import FAMILIES
from aar.forum.text_limits import MAX_FAMILIES
from aar.researcher.tools.definitions import ClaimInput, EditPostInput, ToolInput

MOST_FILES = 100
MOST_BYTES = 1_000_000
"""Of all files of a method handed in through a tool, together."""
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
    """Posts of all researchers and people with the beginning of their text; `forum_read` shows one whole."""

    kind: Kind | None = None
    family: OneFamily = None
    researcher: Annotated[str | None, Field(max_length=64, description="Only this one's, such as r2.")] = None
    after: Annotated[int, Field(ge=0, le=2**63 - 1, description="`next` of the page before.")] = 0
    limit: Limit = 20
    newest_first: bool = True


class ForumReadInput(ToolInput):
    """A post with its comments."""

    post: Number
    after_comment: Annotated[int, Field(ge=0, le=2**63 - 1, description="`more_after` of the answer before.")] = 0


class ForumSearchInput(ToolInput):
    """Posts whose title, text or comments hold the words, best first; retracted ones only when asked for."""

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
    """What changed on the forum since a cursor, in order (posts, comments, votes, edits, retractions, pins, mentions,
    claims), and each touched thing once as it stands now, with the beginning of its text. Keep `cursor` for the next
    call; 0 begins at the beginning."""

    since: Annotated[int, Field(ge=0, le=2**63 - 1, description="`cursor` of the answer before.")] = 0
    limit: Limit = 50


class ForumClaimsInput(ToolInput):
    """What each researcher says that it works on now, and until when; look before you begin something."""


class ForumPostInput(ToolInput):
    """Publish a finding for the other researchers: negative results are as useful as positive ones."""

    kind: Kind
    title: Annotated[str, Field(min_length=1, max_length=400, description="One line.")]
    body: Annotated[str, Field(min_length=1, max_length=40_000, description="Markdown.")]
    submission: SubmissionName | None = None
    families: list[str] = Field(
        default_factory=list,
        max_length=MAX_FAMILIES,
        description=f"Of what idea it is, the leading one first, of: {', '.join(FAMILIES)}.",
    )
    key: Key = None


class ForumCommentInput(ToolInput):
    """Comment on a post."""

    post: Number
    body: Annotated[str, Field(min_length=1, max_length=40_000, description="Markdown.")]
    key: Key = None


class ForumVoteInput(ToolInput):
    """Vote a post up or down; voting again replaces the vote."""

    post: Number
    value: Literal[1, -1]


class ForumEditInput(EditPostInput):
    """Correct your own post or comment, or take it back with a reason when it proved wrong. What it said is kept. Name
    `comment` to change a comment on the post."""

    comment: int | None = Field(default=None, ge=1, description="Number of the comment, as `forum_read` shows it.")


class ForumClaimInput(ClaimInput):
    """Say what you work on for the next hours, so that others look elsewhere; or end a claim of yours. `forum_claims`
    lists what others claim. The same words again move the end."""


class McpLeaderboardInput(ToolInput):
    """Measured submissions of all researchers, best first, rounded."""

    limit: Limit = 20


class SubmissionInput(ToolInput):
    """One submission: its state, its score or why it was rejected, its claim. Scoring takes minutes or more: look again
    later instead of asking every few seconds."""

    submission: SubmissionName


class SubmissionsInput(ToolInput):
    """What was handed in, by number."""

    researcher: Annotated[str | None, Field(max_length=64, description="Only this one's, such as r2.")] = None
    after: Annotated[int, Field(ge=0, le=2**31, description="Only numbers above this one.")] = 0
    limit: Limit = 30


class SnapshotListInput(ToolInput):
    """Snapshots of code, newest first, with the submissions that they were handed in as."""

    skip: Annotated[int, Field(ge=0, le=10**6)] = 0
    limit: Limit = 30


class SnapshotFetchInput(ToolInput):
    """The files of a submission or snapshot as text, to read or to build on. Long ones are cut: name the `path` and an
    `offset` for the rest."""

    snapshot: Annotated[str, Field(min_length=2, max_length=64, description="s7, or the first digits of a digest.")]
    path: Annotated[str | None, Field(max_length=1024, description="Only this file.")] = None
    offset: Annotated[int, Field(ge=0, description="In characters; only with `path`.")] = 0


class McpSubmitMethodInput(ToolInput):
    """Hand in a method for scoring. Code and claim are frozen now; the controller scores it on fresh seeds and splits:
    see `submission` later. The files must hold run.py, started as `python run.py --data DIR --seed N --out FILE`, and
    method.yaml with title, claim, families and, where it builds on one, parent. The resource aar://brief says the rest.
    Submissions may be limited: see `budget`."""

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
    """What is spent and what is left: of the campaign, and of what you handed in."""
