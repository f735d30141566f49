"""MCP tools of the forum."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field
from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from aar.families import FAMILIES
from aar.forum.authors import Author
from aar.forum.change_feed import changes_since
from aar.forum.claims import active_claims
from aar.forum.posts import cast_vote, create_comment, get_thread
from aar.forum.search import PostFilter, full_text_search, list_posts
from aar.forum.views import MAX_FAMILIES, CommentView, PostView
from aar.researcher.tools.definitions import ClaimInput, EditPostInput, ToolInput
from aar.researcher.tools.forum import claim_or_release, edit_or_retract
from aar.text import parse_submission_number, shorten
from aar.web.api.forum.posts import ForumWriter, as_utc, create_post_out
from aar.web.api.forum.schemas import PostIn, PostOut, WrittenPostOut
from aar.web.mcp.tool import Key, Limit, McpClient, McpTool, Number, SubmissionName
from aar.web.request_params import find_researcher

T = TypeVar("T")
_EXCERPT = 300
_LONGEST = 60_000
"""Maximum characters of comments in one response, so that it fits into a small context window."""
OneFamily = Annotated[str | None, Field(max_length=60, description="Only posts labelled with this family of ideas.")]
Kind = Literal["hypothesis", "result", "insight", "error", "question"]


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


async def _list(caller: McpClient, given: ForumListInput) -> Any:
    def read(session: Session) -> list[PostView]:
        by = given.researcher and find_researcher(session, caller.campaign_id, given.researcher).id
        only = PostFilter(given.kind, family=given.family, researcher_id=by or None, retracted=True)
        page = {"after": given.after, "limit": given.limit + 1}
        return list_posts(session, caller.campaign_id, **page, newest_first=given.newest_first, only=only)

    found = await caller.shared.db.read(read)
    shown = found[: given.limit]
    return {"posts": [_brief(post) for post in shown], "next": shown[-1].id if len(found) > given.limit else None}


async def _read(caller: McpClient, given: ForumReadInput) -> Any:
    thread = await caller.shared.db.read(lambda session: get_thread(session, caller.campaign_id, given.post))
    left = [comment for comment in thread.comments if comment.id > given.after_comment]
    shown: list[CommentView] = []
    room = _LONGEST
    while left and (not shown or len(left[0].body) <= room):
        room -= len(left[0].body)
        shown.append(left.pop(0))
    return {
        "post": PostOut.model_validate(thread.post),
        "comments": to_jsonable_python(shown),
        "more_after": shown[-1].id if left else None,
    }


async def _search(caller: McpClient, given: ForumSearchInput) -> Any:
    about = None if given.submission is None else parse_submission_number(given.submission)
    only = PostFilter(
        given.kind, given.author, about, as_utc(given.since), as_utc(given.until), given.retracted, given.family
    )
    words, limit = given.query.replace("\0", " "), given.limit
    found = await caller.shared.db.read(
        lambda session: full_text_search(
            session, caller.campaign_id, words, limit=limit + 1, skip=given.after, only=only
        )
    )
    more = given.after + limit if len(found) > limit else None
    return {"posts": [_brief(post) for post in found[:limit]], "next": more}


async def _changes(caller: McpClient, given: ForumChangesInput) -> Any:
    page = await caller.shared.db.read(
        lambda session: changes_since(session, caller.campaign_id, given.since, limit=given.limit)
    )
    return to_jsonable_python(page) | {
        "posts": [_brief(post) for post in page.posts],
        "comments": [_with_excerpt(to_jsonable_python(each)) for each in page.comments],
    }


async def _claims(caller: McpClient, given: ForumClaimsInput) -> Any:
    held = await caller.shared.db.read(lambda session: active_claims(session, caller.campaign_id))
    return {"claims": to_jsonable_python(held)}


async def _post(caller: McpClient, given: ForumPostInput) -> WrittenPostOut:
    sent = PostIn(
        kind=given.kind,
        title=given.title,
        body=given.body,
        submission_number=None if given.submission is None else parse_submission_number(given.submission),
        families=given.families,
    )
    return await _write(caller, partial(create_post_out, sent=sent, key=given.key))


async def _comment(caller: McpClient, given: ForumCommentInput) -> Any:
    work = partial(create_comment, post_id=given.post, body=given.body, idempotency_key=given.key)
    return to_jsonable_python(await _write(caller, work))


async def _vote(caller: McpClient, given: ForumVoteInput) -> Any:
    return _brief(await _write(caller, partial(cast_vote, post_id=given.post, value=given.value)))


async def _edit(caller: McpClient, given: ForumEditInput) -> Any:
    return {"done": await _write(caller, partial(edit_or_retract, args=given))}


async def _claim(caller: McpClient, given: ForumClaimInput) -> Any:
    return to_jsonable_python(await _write(caller, partial(claim_or_release, args=given)))


async def _write(caller: McpClient, work: Callable[[Session, str, Author], T]) -> T:
    return await ForumWriter(caller.shared, caller.writer(), caller.campaign_id).write(None, work)


def _brief(post: PostView) -> dict[str, Any]:
    return _with_excerpt(PostOut.model_validate(post).model_dump(mode="json", exclude={"researcher_id"}))


def _with_excerpt(shown: dict[str, Any]) -> dict[str, Any]:
    """Returns an item with the beginning of its body instead of the body."""
    begins = shorten(shown.pop("body"), _EXCERPT)
    return shown | {"begins": begins}


TOOLS = (
    McpTool("forum_list", ForumListInput, _list),
    McpTool("forum_read", ForumReadInput, _read),
    McpTool("forum_search", ForumSearchInput, _search),
    McpTool("forum_changes", ForumChangesInput, _changes),
    McpTool("forum_claims", ForumClaimsInput, _claims),
    McpTool("forum_post", ForumPostInput, _post, writes=True),
    McpTool("forum_comment", ForumCommentInput, _comment, writes=True),
    McpTool("forum_vote", ForumVoteInput, _vote, writes=True),
    McpTool("forum_edit", ForumEditInput, _edit, writes=True),
    McpTool("forum_claim", ForumClaimInput, _claim, writes=True),
)
