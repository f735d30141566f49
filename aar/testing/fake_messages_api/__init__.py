"""A contract double of Anthropic's Messages API, for tests of anything that talks to it.

It is a real HTTP server that holds requests to the service's rules and answers with what a script, a function or a
recording says: streams, tools, signed thinking, usage with a prompt cache, context editing, compaction, errors and
faults. docs/messages-double.md shows how to use it, and says where it is only near the real thing.

::

    double = Double([Reply([call("bash", command="ls")]), "Done."])
    async with serve(double) as base_url:
        client = AsyncAnthropic(base_url=base_url, api_key="none")
"""

from __future__ import annotations

from aar.messages_api.api_errors import ApiRefusal
from aar.messages_api.context.prompt_cache import CacheUse, PromptCache
from aar.messages_api.model_specs import Traits, traits_of
from aar.messages_api.replies import Reply, Verbatim, call, pause, refuse, say, think, think_redacted
from aar.messages_api.request import Request
from aar.messages_api.server.app import Double, Exchange, Rules
from aar.messages_api.server.faults import (
    AS_IT_IS,
    CutShort,
    Drop,
    Fault,
    FaultSource,
    HttpError,
    Instead,
    Misreport,
    Slow,
    Stall,
    StreamError,
    at_requests,
    by_chance,
    in_order,
)
from aar.messages_api.server.local_server import serve, serve_in_thread
from aar.messages_api.server.model_backends import ByTurn, Function, Model, Scripted
from aar.messages_api.token_counts import block_tokens, text_tokens
from aar.testing.fake_messages_api.recording import Recorder, Replay

__all__ = [
    "AS_IT_IS",
    "ApiRefusal",
    "ByTurn",
    "CacheUse",
    "CutShort",
    "Double",
    "Drop",
    "Exchange",
    "Fault",
    "FaultSource",
    "Function",
    "HttpError",
    "Instead",
    "Misreport",
    "Model",
    "PromptCache",
    "Recorder",
    "Replay",
    "Reply",
    "Request",
    "Rules",
    "Scripted",
    "Slow",
    "Stall",
    "StreamError",
    "Traits",
    "Verbatim",
    "at_requests",
    "block_tokens",
    "by_chance",
    "call",
    "in_order",
    "pause",
    "refuse",
    "say",
    "serve",
    "serve_in_thread",
    "text_tokens",
    "think",
    "think_redacted",
    "traits_of",
]
