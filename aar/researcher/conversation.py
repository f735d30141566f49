"""A researcher's conversation, built from the events of the log only.

The same events give the same messages, byte for byte, so that a conversation survives its process and the prompt cache
stays valid across turns. Messages alternate, and every ``tool_use`` is answered in the very next message, whatever the
log contains: a turn with unanswered calls is ``pending``, and no request is made before they are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from sqlalchemy import Table, bindparam
from sqlalchemy.orm import Session

from aar.events import (
    AnyEvent,
    BlockBegun,
    ContextReset,
    MessageAdded,
    ModelCalled,
    ToolFinished,
    ToolStarted,
    TurnReceived,
)
from aar.llm.concurrency_limiter import is_waiting
from aar.llm.content import (
    REASONING_BLOCK_TYPES,
    ContentBlock,
    ToolCall,
    is_empty_turn,
    resendable_content,
    tool_calls_of,
)
from aar.llm.request import CacheTtlPolicy, MessageEncoder, token_upper_bound
from aar.store.database import Database, on_commit
from aar.store.event_log import append_events, read_events
from aar.store.models import Researcher

Message = dict[str, Any]

REFUSAL_NOTE = (
    "[Your last reply was withheld by a safety filter and is not part of this conversation. Continue in another way.]"
)
CLEARED_NOTE = "[Old tool result content cleared]"
"""The service's replacement for a cleared result, word for word, so that its cache stays valid."""
EMPTY_NOTE = "[Your last reply was empty, or all of it was reasoning that was cut off.]"
CONVERSATION_KINDS = ("message_added", "turn_received", "tool_started", "tool_finished", "context_reset")
_PAGE = 500
_LONGEST = 300
_TABLE = cast(Table, Researcher.__table__)
_UPDATE = _TABLE.update().where(_TABLE.c.id == bindparam("who"))


@dataclass(slots=True)
class Conversation:
    """The conversation after the events applied so far."""

    messages: list[Message] = field(default_factory=list)
    turns: int = 0
    prompt_tokens: int = 0
    """Tokens of the last request, as the service counted them; 0 before the first reply and after a reset."""
    output_tokens: int = 0
    """Tokens of the last reply."""
    last_stop: str = ""
    void: bool = False
    """True if the last reply was refused, empty or nothing but reasoning."""
    by_fallback: bool = False
    """True if the last reply was the fallback's."""
    news_cursor: int = 0
    finished: str | None = None
    """The summary of the researcher's ``finish`` call."""
    landing: bool = False
    """True once it was asked to write up because the budget nears its end."""
    warned: bool = False
    """True once it was warned that a fresh conversation will begin soon."""
    call_ids: set[str] = field(default_factory=set)
    """Ids of all calls so far, earlier conversations included."""
    _counted: int = 0
    """Messages included in ``prompt_tokens``."""
    _calls: dict[str, ToolCall] = field(default_factory=dict)
    _results: dict[str, ContentBlock] = field(default_factory=dict)
    _buffered: list[ContentBlock] = field(default_factory=list)
    """Text added while calls were unanswered; follows their results."""

    @property
    def pending_calls(self) -> list[ToolCall]:
        """Return the calls of the last turn without a result, in order."""
        return [call for call in self._calls.values() if call.id not in self._results]

    @property
    def awaits_model(self) -> bool:
        """Return whether a model call is next.

        Then the last message is the user's, or the model paused its turn.
        """
        return bool(self.messages) and (self.messages[-1]["role"] == "user" or self.last_stop == "pause_turn")

    def apply(self, event: AnyEvent) -> None:
        """Apply one event; ignore kinds that do not concern the conversation."""
        if isinstance(event, MessageAdded):
            if self.pending_calls:
                self._buffered.extend(event.content)
            else:
                self._add_user_content(event.content)
            if event.news_cursor is not None:
                self.news_cursor = max(self.news_cursor, event.news_cursor)
            self.warned = self.warned or event.reason == "context"
            self.landing = self.landing or event.reason == "landing"
        elif isinstance(event, TurnReceived):
            self._turn(event)
        elif isinstance(event, ToolStarted):
            if event.tool_use_id in self._calls:
                self._calls[event.tool_use_id] = replace(self._calls[event.tool_use_id], interrupted=True)
        elif isinstance(event, ToolFinished):
            self._result(event)
        elif isinstance(event, ContextReset):
            self._reset(event)

    def request_messages(self, lifetime: str = "5m") -> list[Message]:
        """Return the messages to send, with cache breakpoints on the last two user messages.

        The stored messages stay as they are. There are two breakpoints, because a turn with many calls may put the last
        request's end out of reach of one.

        Args:
            lifetime: of the cache entries, ``5m`` or ``1h``.
        """
        assert not self.pending_calls, "a request while calls are unanswered"
        sent = list(self.messages)
        for index in [index for index, message in enumerate(sent) if message["role"] == "user"][-2:]:
            sent[index] = _with_breakpoint(sent[index], lifetime)
        return sent

    def max_prompt_tokens(self, stable: int, *, own: bool = True) -> int:
        """Return an upper bound of the next request's prompt tokens.

        Reasoning is shown shortened but billed completely when it goes back, so the reply's own count is used beside
        its bytes.

        Args:
            stable: upper bound of the tokens of the system prompt and the tools.
            own: for the researcher's own model; another one may count tokens differently, so bytes bound them all.
        """
        if not own:
            return stable + token_upper_bound(self.messages)
        known = self.prompt_tokens if self._counted else stable
        return known + token_upper_bound(self.messages[self._counted :]) + self.output_tokens

    def recent_turns(self, most: int, most_bytes: int) -> int:
        """Return how many of the last turns fit a fresh conversation.

        At most ``most``, of at most ``most_bytes`` together.
        """
        recent = size = 0
        for message in reversed(self.messages):
            size += token_upper_bound([message])
            if recent == most or size > most_bytes:
                break
            recent += message["role"] == "assistant"
        return recent

    def _add_user_content(self, content: Sequence[ContentBlock]) -> None:
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages[-1] = {"role": "user", "content": [*self.messages[-1]["content"], *content]}
        else:
            self.messages.append({"role": "user", "content": list(content)})

    def _turn(self, event: TurnReceived) -> None:
        self.turns += 1
        self.last_stop, self.by_fallback = event.stop_reason, event.fallback
        self.prompt_tokens, self.output_tokens = event.prompt_tokens, event.output_tokens
        self._clear(event.cleared_tool_uses)
        self._calls, self._results = {}, {}
        content = resendable_content(event)
        void = is_empty_turn(event, content)
        self.void = void
        grows = void or (self.messages and self.messages[-1]["role"] == "assistant")
        # A message that grows is counted again as a whole: the bound must never be too low.
        counted = (
            event.prompt_tokens and not event.fallback
        )  # another model counts differently, and receives no reasoning
        self._counted = len(self.messages) - bool(grows) if counted else 0
        if void:
            self._add_user_content(
                [{"type": "text", "text": REFUSAL_NOTE if event.stop_reason == "refusal" else EMPTY_NOTE}]
            )
            return
        if self.messages and self.messages[-1]["role"] == "assistant":
            self.messages[-1] = {"role": "assistant", "content": [*self.messages[-1]["content"], *content]}
        else:
            self.messages.append({"role": "assistant", "content": content})
        self._forget_compacted()
        self._calls = {call.id: call for call in tool_calls_of(event)}
        self.call_ids.update(self._calls)

    def _clear(self, tool_uses: int) -> None:
        """Remove the oldest tool results, as the service did in its last prompt.

        If they were sent again, the service would clear them again at each turn, one more each time. The prompt would
        then change at an early place, and the cache would be written again every time.
        """
        left = tool_uses
        for place, message in enumerate(self.messages if tool_uses else ()):
            results = [block for block in message["content"] if block.get("type") == "tool_result"]
            if left <= 0 or not results:
                continue
            gone = [id(block) for block in results[:left]]
            left -= len(gone)
            content = [
                {**block, "content": CLEARED_NOTE} if id(block) in gone else block for block in message["content"]
            ]
            self.messages[place] = {**message, "content": content}

    def _forget_compacted(self) -> None:
        """Remove the messages that the service's summary replaces, as the service itself does.

        The opening stays, because a conversation begins with the user.
        """
        content = self.messages[-1]["content"]
        summaries = [index for index, block in enumerate(content) if _compacted(block)]
        # A call before the summary (no service makes one) would leave its result without a call.
        called_before = summaries and any(block.get("type") == "tool_use" for block in content[: summaries[-1]])
        if summaries and not called_before and len(self.messages) > 2:
            self.messages = [self.messages[0], {"role": "assistant", "content": content[summaries[-1] :]}]
            self.prompt_tokens = self._counted = 0

    def _result(self, event: ToolFinished) -> None:
        if event.tool_use_id not in self._calls or event.tool_use_id in self._results:
            return
        result: ContentBlock = {"type": "tool_result", "tool_use_id": event.tool_use_id, "content": event.content}
        if event.is_error:
            result["is_error"] = True
        self._results[event.tool_use_id] = result
        if event.tool == "finish" and not event.is_error:
            self.finished = str(self._calls[event.tool_use_id].input.get("summary", ""))
        if not self.pending_calls:
            self._add_user_content([*(self._results[call_id] for call_id in self._calls), *self._buffered])
            self._buffered = []

    def _reset(self, event: ContextReset) -> None:
        starts = [index for index, message in enumerate(self.messages) if message["role"] == "assistant"]
        recent = self.messages[starts[-event.kept_turns] :] if event.kept_turns else []
        # The last turn's reasoning belongs to the call whose result comes next: it stays complete.
        last = starts[-1] - len(self.messages) if starts else 0
        recent = [*without_thinking(recent[:last]), *recent[last:]] if recent else []
        self.messages = [{"role": "user", "content": list(event.content)}, *recent]
        self.prompt_tokens = self.output_tokens = self._counted = 0
        self.warned = False


def without_thinking(messages: Sequence[Message]) -> list[Message]:
    """Return the messages without reasoning.

    Only the model and the conversation of the reasoning may see it again.
    """
    return [
        {**message, "content": recent}
        if message["role"] == "assistant"
        and (recent := [block for block in message["content"] if block.get("type") not in REASONING_BLOCK_TYPES])
        else message
        for message in messages
    ]


def _with_breakpoint(message: Message, lifetime: str) -> Message:
    content = list(message["content"])
    content[-1] = {**content[-1], "cache_control": {"type": "ephemeral", "ttl": lifetime}}
    return {**message, "content": content}


def _compacted(block: ContentBlock) -> bool:
    """Return whether a block is a summary of all before it.

    A failed one has no content and changes nothing.
    """
    return block.get("type") == "compaction" and bool(block.get("content"))


class ConversationLog:
    """Writes events first and then applies them to the conversation; open it with ``open_conversation_log``.

    An event about the past only, a tool's result, may be buffered: it is part of the conversation at once, and is
    written at the head of the next transaction, which is that of the next call's reservation or of ``flush``. A
    controller that dies in between leaves the same state as one that dies within the tool.
    """

    def __init__(self, db: Database, campaign_id: str, researcher_id: str, conversation: Conversation) -> None:
        self.conversation = conversation
        self.encoder = MessageEncoder()
        self.cache_ttl = CacheTtlPolicy()
        self.news_seen = conversation.news_cursor
        """The last event whose news are known; ahead of the log's own cursor while there are none."""
        self.announced: set[str] = set()
        """Calls that this object logged as started and that have not begun yet."""
        self._buffered: list[AnyEvent] = []
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
        self._buffered.append(event)

    async def flush(self) -> None:
        """Append the buffered events, if any."""
        if self._buffered:
            await self.record()

    def append_with_buffered(self, session: Session, *events: AnyEvent) -> None:
        """Append the buffered events and others in the caller's transaction."""
        buffered = tuple(self._buffered)
        if buffered:
            # Buffered until then: after a rollback the next transaction writes it.
            on_commit(session, lambda: self._buffered.__delitem__(slice(len(buffered))))
        events = (*buffered, *events)
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


def update_activity(session: Session, researcher_id: str, events: Sequence[AnyEvent]) -> None:
    """Update the activity in the transaction of the events.

    Events that begin nothing leave it unchanged.
    """
    begun = [activity for event in events if (activity := _activity(event)) is not None]
    if begun:
        doing, state = begun[-1]
        # A model may write characters that no database stores as text.
        storable = doing[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode()
        session.connection().execute(_UPDATE, {"who": researcher_id, "doing": storable, "state": state})


def _activity(event: AnyEvent) -> tuple[str, str] | None:
    """Return what an event begins, and the researcher's state; None if it begins nothing."""
    match event:
        case ToolStarted(tool=tool, about=about):
            doing = about if about.startswith(tool) else f"{tool}: {about}"
            return doing, "waiting" if tool == "wait" else "running"
        case ModelCalled():
            return "thinking", "running"
        case BlockBegun(doing=doing) if doing:
            return doing, "waiting" if is_waiting(doing) else "running"
        case _:
            return None
