"""One researcher's part of the event log, and the conversation that it amounts to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from aar.events import AnyEvent
from aar.researcher.caching import Rhythm
from aar.researcher.conversation import Conversation
from aar.researcher.doing import note_doing
from aar.researcher.encoding import MessageEncoder
from aar.store.database import Database
from aar.store.event_log import append, read

KINDS = ("message_added", "turn_received", "tool_started", "tool_finished", "context_reset")
_PAGE = 500


class Journal:
    """Writes events first and lets the conversation follow; make it with ``open_journal``."""

    def __init__(self, db: Database, campaign_id: str, researcher_id: str, conversation: Conversation) -> None:
        self.conversation = conversation
        self.encoder = MessageEncoder()
        self.rhythm = Rhythm()
        self.news_seen = conversation.news_cursor
        """Up to which event the news are known; ahead of the log's own cursor while there are none."""
        self._db = db
        self._campaign_id = campaign_id
        self._researcher_id = researcher_id

    async def record(self, *events: AnyEvent) -> None:
        """Append events in one transaction."""
        await self.write(lambda _: events)

    async def write(self, effect: Callable[[Session], Sequence[AnyEvent]]) -> None:
        """Do something in a transaction that also appends the events it returns."""

        def transact(session: Session) -> Sequence[AnyEvent]:
            events = effect(session)
            self.append(session, *events)
            return events

        for event in await self._db.write(transact):
            self.conversation.apply(event)

    def append(self, session: Session, *events: AnyEvent) -> None:
        """Append events in a transaction of the caller's, who applies them once it is committed."""
        for event in events:
            append(session, self._campaign_id, event, self._researcher_id)
        note_doing(session, self._researcher_id, events)


async def open_journal(db: Database, campaign_id: str, researcher_id: str) -> Journal:
    """The journal with the conversation as the log has it."""
    conversation = await db.read(lambda session: replay(session, campaign_id, researcher_id))
    return Journal(db, campaign_id, researcher_id, conversation)


def replay(session: Session, campaign_id: str, researcher_id: str) -> Conversation:
    """Fold a researcher's events into its conversation."""
    conversation = Conversation()
    cursor = 0
    while page := read(session, campaign_id, after=cursor, limit=_PAGE, researcher_id=researcher_id, kinds=KINDS):
        for logged in page:
            conversation.apply(logged.event)
        cursor = page[-1].id
    return conversation
