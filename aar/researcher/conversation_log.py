"""One researcher's part of the event log, and the conversation that it amounts to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from aar.events import AnyEvent
from aar.llm.request.cache_ttl import CacheTtlPolicy
from aar.llm.request.request_encoding import MessageEncoder
from aar.researcher.activity import update_activity
from aar.researcher.conversation import Conversation
from aar.store.database import Database
from aar.store.event_log import append_events, read_events
from aar.store.on_commit import on_commit

CONVERSATION_KINDS = ("message_added", "turn_received", "tool_started", "tool_finished", "context_reset")
_PAGE = 500


class ConversationLog:
    """Writes events first and lets the conversation follow; make it with ``open_conversation_log``.

    What only tells of something past, a tool's result, may be held: it is part of the conversation at once, and is
    written at the head of the next transaction, which is that of the next call's reservation or of ``flush``. A
    controller that dies between leaves what it would leave if it died within the tool.
    """

    def __init__(self, db: Database, campaign_id: str, researcher_id: str, conversation: Conversation) -> None:
        self.conversation = conversation
        self.encoder = MessageEncoder()
        self.rhythm = CacheTtlPolicy()
        self.news_seen = conversation.news_cursor
        """Up to which event the news are known; ahead of the log's own cursor while there are none."""
        self.announced: set[str] = set()
        """Calls that are logged as started, by this very journal, and were not begun yet."""
        self._held: list[AnyEvent] = []
        self._db = db
        self._campaign_id = campaign_id
        self._researcher_id = researcher_id

    async def record(self, *events: AnyEvent) -> None:
        """Append events in one transaction."""
        await self.write(lambda _: events)

    async def write(self, effect: Callable[[Session], Sequence[AnyEvent]]) -> Sequence[AnyEvent]:
        """Do something in a transaction that also appends the events it returns; returns them."""

        def transact(session: Session) -> Sequence[AnyEvent]:
            events = effect(session)
            self.append_with_buffered(session, *events)
            return events

        written = await self._db.write(transact)
        for event in written:
            self.conversation.apply(event)
        return written

    def buffer(self, event: AnyEvent) -> None:
        """Take an event that the next transaction will append."""
        self.conversation.apply(event)
        self._held.append(event)

    async def flush(self) -> None:
        """Append what is held, if anything."""
        if self._held:
            await self.record()

    def append_with_buffered(self, session: Session, *events: AnyEvent) -> None:
        """Append what is held, and events that the caller applies once it committed the transaction, which is its."""
        held = tuple(self._held)
        if held:
            # Held until then: a transaction that is rolled back leaves it to the next one.
            on_commit(session, lambda: self._held.__delitem__(slice(len(held))))
        events = (*held, *events)
        append_events(session, self._campaign_id, events, self._researcher_id)
        update_activity(session, self._researcher_id, events)


async def open_conversation_log(db: Database, campaign_id: str, researcher_id: str) -> ConversationLog:
    """The journal with the conversation as the log has it."""
    conversation = await db.read(lambda session: replay_conversation(session, campaign_id, researcher_id))
    return ConversationLog(db, campaign_id, researcher_id, conversation)


def replay_conversation(session: Session, campaign_id: str, researcher_id: str) -> Conversation:
    """Fold a researcher's events into its conversation."""
    conversation = Conversation()
    cursor = 0
    while page := read_events(
        session, campaign_id, after=cursor, limit=_PAGE, researcher_id=researcher_id, kinds=CONVERSATION_KINDS
    ):
        for logged in page:
            conversation.apply(logged.event)
        cursor = page[-1].id
    return conversation
