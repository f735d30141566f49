"""News for a researcher: mentions, others' activity, and messages from people in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Table, bindparam, or_, select
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.events import (
    ClaimMade,
    CommentCreated,
    PostCreated,
    ResearchersMentioned,
    SubmissionMeasured,
    TextRetracted,
    parse_event,
)
from aar.forum.authors import is_by_person
from aar.store import event_log
from aar.store.models import Comment, EventRecord, Post, Researcher
from aar.text import shorten

_KINDS = (
    "post_created",
    "comment_created",
    "submission_measured",
    "researchers_mentioned",
    "text_retracted",
    "claim_made",
    "control_requested",
)
_TITLE, _COMMENT = 120, 160
_EVENTS = cast(Table, EventRecord.__table__).c
# A Core statement: every turn of every researcher runs it, mostly without a result. It is sorted here, because with a
# sort SQLite reads all events of the whole team since the last time, instead of finding the few kinds by index.
_SINCE = select(_EVENTS.id, _EVENTS.researcher_id, _EVENTS.payload).where(
    _EVENTS.campaign_id == bindparam("campaign"),
    _EVENTS.id > bindparam("after"),
    _EVENTS.id <= bindparam("latest"),
    _EVENTS.kind.in_(_KINDS),
    or_(
        _EVENTS.researcher_id.is_(None),
        _EVENTS.researcher_id != bindparam("reader"),
        _EVENTS.kind == "control_requested",
    ),
)


@dataclass(frozen=True, slots=True)
class News:
    """News for one researcher.

    Args:
        cursor: pass it as ``after_event`` next time.
        lines: one short line each, oldest first, but mentions of the reader before all others; if some were left out,
            a line with their number.
        human_messages: messages from people, in full and marked as theirs.
    """

    cursor: int
    lines: list[str]
    human_messages: list[str]


def news_since(session: Session, campaign_id: str, researcher_id: str, after_event: int, *, limit: int = 20) -> News:
    """Return the activity of others after an event.

    Args:
        session: for reading.
        campaign_id: the campaign of the forum.
        researcher_id: the reader; its own activity is left out.
        after_event: the cursor of the last call; 0 for everything.
        limit: most lines; the newest remain. Mentions and people's messages are never cut.

    Raises:
        UsageError: a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"invalid limit of news: got {limit}, expected 1 or more", "Request one line or more")
    latest = event_log.latest_event_id(session, campaign_id)
    span = {"campaign": campaign_id, "reader": researcher_id, "after": after_event, "latest": latest}
    found = session.connection().execute(_SINCE, span).all()
    if not found:
        return News(max(latest, after_event), [], [])
    builder = _NewsBuilder(session, campaign_id, researcher_id, limit)
    for _, actor, payload in sorted(found, key=lambda row: row.id, reverse=True):
        builder.add(actor, payload)
    lines = builder.lines[::-1]
    if builder.left_out:
        lines.insert(0, f"({builder.left_out} older lines left out: read the forum's files, or list its posts)")
    return News(max(latest, after_event), builder.mentions[::-1] + lines, builder.human_messages[::-1])


class _NewsBuilder:
    """Builds news from events: at most ``limit`` lines, and all messages from people.

    Events come newest first.
    """

    def __init__(self, session: Session, campaign_id: str, reader: str, limit: int) -> None:
        self._session = session
        self._reader = reader
        self._limit = limit
        names = select(Researcher.id, Researcher.name).where(Researcher.campaign_id == campaign_id)
        self._names = {row.id: row.name for row in session.execute(names)}
        self.lines: list[str] = []
        self.left_out = 0
        self.human_messages: list[str] = []
        self.mentions: list[str] = []
        self._own_name = self._names.get(reader, "")
        # a mention comes after its text, so it is read first here
        self._mentioned_in: set[tuple[int, int | None]] = set()

    def add(self, actor: str | None, payload: dict[str, Any]) -> None:
        if payload["kind"] == "control_requested":
            self._add_message(actor, payload)
            return
        if payload["kind"] == "researchers_mentioned":
            self._add_mention(actor, ResearchersMentioned.model_validate(payload))
            return
        is_text = payload["kind"] in ("post_created", "comment_created")
        from_person = is_text and is_by_person(payload["author"], actor)
        if is_text and not from_person and (payload["post_id"], payload.get("comment_id")) in self._mentioned_in:
            return
        if len(self.lines) == self._limit and not from_person:
            self.left_out += 1
            return
        match parse_event(payload):
            case ClaimMade() as event:
                until = f"{event.expires_at:%H:%M} UTC"
                self.lines.append(f"{event.author} works until {until} on: {shorten(event.topic, _TITLE)}")
            case TextRetracted() as event:
                what = "a comment on" if event.comment_id is not None else "post"
                reason = shorten(event.reason, _COMMENT)
                self.lines.append(f"{event.author} retracted {what} #{event.post_id}: {reason}")
            case PostCreated() as event:
                self._add_post(actor, event)
            case CommentCreated() as event:
                self._add_comment(actor, event)
            case SubmissionMeasured() as event:
                self._add_score(actor, event)

    def _add_mention(self, actor: str | None, event: ResearchersMentioned) -> None:
        where = (event.post_id, event.comment_id)
        if self._own_name not in event.names or where in self._mentioned_in:
            return
        post = self._session.get(Post, event.post_id)
        text = self._session.get(Comment, event.comment_id) if event.comment_id is not None else post
        if post is None or text is None:
            return
        self._mentioned_in.add(where)
        who = f"{event.author}, a person," if is_by_person(event.author, actor) else event.author
        place = f'#{post.id} "{shorten(post.title, _TITLE)}"'
        place = f"a comment on {place}" if event.comment_id is not None else place
        self.mentions.append(f'you are mentioned by {who} in {place}: "{shorten(text.body, _COMMENT)}"')

    def _add_message(self, whom: str | None, request: dict[str, Any]) -> None:
        """Add a person's message to the reader or to all; any other request is left out."""
        if whom not in (None, self._reader):
            return
        if request["command"] == "message":
            to = "you" if whom else "every researcher"
            self.human_messages.append(f"{request['by']}, a person, wrote to {to}:\n{request['argument']}")
        elif request["command"] == "redirect":
            lead = f"{request['by']}, a person, gives you a new direction instead of your first one:"
            self.human_messages.append(f"{lead}\n{request['argument']}")

    def _add_score(self, actor: str | None, event: SubmissionMeasured) -> None:
        by = f" by {self._names[actor]}" if actor in self._names else ""
        if not event.told or event.score is None or event.standard_error is None:
            self.lines.append(f"s{event.number}{by} measured, number withheld: surely worse than its author's best")
            return
        lead = ", and leads the board" if event.best else ""
        self.lines.append(
            f"s{event.number}{by} measured: {event.metric} {event.score:.2f} ± {event.standard_error:.2f}{lead}"
        )

    def _add_post(self, actor: str | None, event: PostCreated) -> None:
        if not is_by_person(event.author, actor):
            title = shorten(event.title, _TITLE)
            self.lines.append(f'{event.author} posted #{event.post_id} [{event.post_kind}]: "{title}"')
        elif (post := self._session.get(Post, event.post_id)) is not None:
            self.human_messages.append(
                f'{post.author}, a person, posted #{post.id} [{post.kind}] "{post.title}":\n{post.body}'
            )

    def _add_comment(self, actor: str | None, event: CommentCreated) -> None:
        comment = self._session.get(Comment, event.comment_id)
        post = self._session.get(Post, event.post_id)
        if comment is None or post is None:
            return
        whose = "your post" if post.researcher_id == self._reader else "post"
        about = f'{whose} #{post.id} "{shorten(post.title, _TITLE)}"'
        if not is_by_person(comment.author, actor):
            self.lines.append(f'{comment.author} commented on {about}: "{shorten(comment.body, _COMMENT)}"')
        else:
            self.human_messages.append(f"{comment.author}, a person, commented on {about}:\n{comment.body}")
