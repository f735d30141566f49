"""One researcher's part of the event log, together with its conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from aar.events import AnyEvent
from aar.llm.request.cache_ttl import CacheTtlPolicy
from aar.llm.request.request_encoding import MessageEncoder
from aar.researcher.activity import update_activity
from aar.researcher.conversation import Conversation
from aar.store.database import Database, on_commit
from aar.store.event_log import append_events, read_events

CONVERSATION_KINDS = ("message_added", "turn_received", "tool_started", "tool_finished", "context_reset")
_PAGE = 500


class ConversationLog:
    """Writes events first and then applies them to the conversation; open it with ``open_conversation_log``.

    An event about the past only, a tool's result, may be buffered: it is part of the conversation at once, and is
    written at the head of the next transaction, which is that of the next call's reservation or of ``flush``. A
    controller that dies in between leaves the same state as one that dies within the tool.
    """

    def __init__(self, db: Database, campaign_id: str, researcher_id: str, conversation: Conversation) -> None:
        self.conversation = conversation
        self.encoder = MessageEncoder()
        self.rhythm = CacheTtlPolicy()
        self.news_seen = conversation.news_cursor
        """The last event whose news are known; ahead of the log's own cursor while there are none."""
        self.announced: set[str] = set()
        """Calls that this object logged as started and that have not begun yet."""
        self._held: list[AnyEvent] = []
        self._db = db
        self._campaign_id = campaign_id
        self._researcher_id = researcher_id

    async def record(self, *events: AnyEvent) -> None:
        """Append events in one transaction."""
        await self.write(lambda _: events)

    async def write(self, effect: Callable[[Session], Sequence[AnyEvent]]) -> Sequence[AnyEvent]:
        """Run a write in a transaction that also appends the events it returns.

        Return them.
        """

        def transact(session: Session) -> Sequence[AnyEvent]:
            events = effect(session)
            self.append_with_buffered(session, *events)
            return events

        written = await self._db.write(transact)
        for event in written:
            self.conversation.apply(event)
        return written

    def buffer(self, event: AnyEvent) -> None:
        """Buffer an event for the next transaction."""
        self.conversation.apply(event)
        self._held.append(event)

    async def flush(self) -> None:
        """Append the buffered events, if any."""
        if self._held:
            await self.record()

    def append_with_buffered(self, session: Session, *events: AnyEvent) -> None:
        """Append the buffered events in the caller's transaction.

        Return them to be applied after its commit.
        """
        held = tuple(self._held)
        if held:
            # Buffered until then: after a rollback the next transaction writes it.
            on_commit(session, lambda: self._held.__delitem__(slice(len(held))))
        events = (*held, *events)
        append_events(session, self._campaign_id, events, self._researcher_id)
        update_activity(session, self._researcher_id, events)


async def open_conversation_log(db: Database, campaign_id: str, researcher_id: str) -> ConversationLog:
    """Open a researcher's log with the conversation that it contains."""
    conversation = await db.read(lambda session: replay_conversation(session, campaign_id, researcher_id))
    return ConversationLog(db, campaign_id, researcher_id, conversation)


def replay_conversation(session: Session, campaign_id: str, researcher_id: str) -> Conversation:
    """Replay a researcher's events into its conversation."""
    conversation = Conversation()
    cursor = 0
    while page := read_events(
        session, campaign_id, after=cursor, limit=_PAGE, researcher_id=researcher_id, kinds=CONVERSATION_KINDS
    ):
        for logged in page:
            conversation.apply(logged.event)
        cursor = page[-1].id
    return conversation
