"""What happened since a researcher last looked: others' posts, comments and scores, and people's words in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.events import CommentCreated, PostCreated, SubmissionMeasured, parse_event
from aar.forum.text import shorten
from aar.forum.views import by_person
from aar.store import event_log
from aar.store.models import Comment, EventRecord, Post, Researcher

_KINDS = ("post_created", "comment_created", "submission_measured")
_TITLE, _COMMENT = 120, 160


@dataclass(frozen=True, slots=True)
class News:
    """News for one researcher.

    Args:
        cursor: pass it as ``after_event`` next time.
        lines: one short line each, oldest first; where there was more, the first line says how much.
        human_messages: what people wrote, in full and marked as theirs.
    """

    cursor: int
    lines: list[str]
    human_messages: list[str]


def news_since(session: Session, campaign_id: str, researcher_id: str, after_event: int, *, limit: int = 20) -> News:
    """What others did after an event.

    Args:
        session: for reading.
        campaign_id: whose forum.
        researcher_id: for whom; its own doings are left out.
        after_event: the cursor of the last call; 0 for everything.
        limit: most lines; the newest are kept. People's messages are never cut.

    Raises:
        UsageError: a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"news of {limit} lines says nothing", "Ask for one line or more")
    latest = event_log.latest_event_id(session, campaign_id)
    query = select(EventRecord.researcher_id, EventRecord.payload).where(
        EventRecord.campaign_id == campaign_id,
        EventRecord.id > after_event,
        EventRecord.id <= latest,
        EventRecord.kind.in_(_KINDS),
        or_(EventRecord.researcher_id.is_(None), EventRecord.researcher_id != researcher_id),
    )
    teller = _Teller(session, campaign_id, researcher_id, limit)
    for actor, payload in session.execute(query.order_by(EventRecord.id.desc())):
        teller.tell(actor, payload)
    lines = teller.lines[::-1]
    if teller.left_out:
        lines.insert(0, f"({teller.left_out} older lines left out: read the forum's files, or list its posts)")
    return News(max(latest, after_event), lines, teller.human_messages[::-1])


class _Teller:
    """Turns events, newest first, into at most ``limit`` lines and any number of people's messages."""

    def __init__(self, session: Session, campaign_id: str, reader: str, limit: int) -> None:
        self._session = session
        self._reader = reader
        self._limit = limit
        names = select(Researcher.id, Researcher.name).where(Researcher.campaign_id == campaign_id)
        self._names = {row.id: row.name for row in session.execute(names)}
        self.lines: list[str] = []
        self.left_out = 0
        self.human_messages: list[str] = []

    def tell(self, actor: str | None, payload: dict[str, Any]) -> None:
        from_person = payload["kind"] != "submission_measured" and by_person(payload["author"], actor)
        if len(self.lines) == self._limit and not from_person:
            self.left_out += 1
            return
        match parse_event(payload):
            case PostCreated() as happened:
                self._post(actor, happened)
            case CommentCreated() as happened:
                self._comment(actor, happened)
            case SubmissionMeasured() as happened:
                self._score(actor, happened)

    def _score(self, actor: str | None, happened: SubmissionMeasured) -> None:
        by = f" by {self._names[actor]}" if actor in self._names else ""
        lead = ", and leads the board" if happened.best else ""
        self.lines.append(
            f"s{happened.number}{by} measured: {happened.metric} {happened.score:.2f} "
            f"± {happened.standard_error:.2f}{lead}"
        )

    def _post(self, actor: str | None, happened: PostCreated) -> None:
        if not by_person(happened.author, actor):
            title = shorten(happened.title, _TITLE)
            self.lines.append(f'{happened.author} posted #{happened.post_id} [{happened.post_kind}]: "{title}"')
        elif (post := self._session.get(Post, happened.post_id)) is not None:
            self.human_messages.append(
                f'{post.author}, a person, posted #{post.id} [{post.kind}] "{post.title}":\n{post.body}'
            )

    def _comment(self, actor: str | None, happened: CommentCreated) -> None:
        comment = self._session.get(Comment, happened.comment_id)
        post = self._session.get(Post, happened.post_id)
        if comment is None or post is None:
            return
        whose = "your post" if post.researcher_id == self._reader else "post"
        about = f'{whose} #{post.id} "{shorten(post.title, _TITLE)}"'
        if not by_person(comment.author, actor):
            self.lines.append(f'{comment.author} commented on {about}: "{shorten(comment.body, _COMMENT)}"')
        else:
            self.human_messages.append(f"{comment.author}, a person, commented on {about}:\n{comment.body}")
