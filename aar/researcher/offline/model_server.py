"""The offline model server's application: the fake Messages API with a search program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aar.researcher.offline import OFFLINE_MODEL_ID
from aar.researcher.offline.observed_conversation import ObservedConversation, parse_conversation
from aar.researcher.offline.planned_turn import PlannedTurn
from aar.testing.fake_messages_api.app import FakeMessagesApi, ServerRules
from aar.testing.fake_messages_api.replies import ModelReply
from aar.testing.fake_messages_api.request import MessagesRequest

TurnFunction = Callable[[ObservedConversation], PlannedTurn]
"""Returns a conversation's next turn; a pure function, called in a thread."""


class SimulatedModel:
    """A model whose turns are a function of the conversation."""

    def __init__(self, play: TurnFunction) -> None:
        self._play = play

    async def reply(self, request: MessagesRequest) -> ModelReply:
        """Return the next turn of the conversation."""
        return await asyncio.to_thread(self._turn, request)

    def _turn(self, request: MessagesRequest) -> ModelReply:
        return self._play(parse_conversation(request)).reply()


def make_app(play: TurnFunction) -> FakeMessagesApi:
    """Return an ASGI application that answers the Messages API with the turns of ``play``.

    Requests must follow the rules of the API, but not the SDK's types: their import would take longer than the rest of
    this server's start. Nothing is logged.
    """
    return FakeMessagesApi(
        SimulatedModel(play), rules=ServerRules(models=[OFFLINE_MODEL_ID], strict=False), most_logged=0
    )
