"""A fake server of Anthropic's Messages API, for tests of its clients.

It is a real HTTP server that checks requests against the service's rules and replies from a script, a function or a
recording: streams, tools, signed thinking, usage with a prompt cache, context editing, compaction, errors and faults.
docs/messages-double.md shows how to use it, and lists the parts that are only approximate.

::

    server = FakeMessagesApi([ModelReply([tool_use_block("bash", command="ls")]), "Done."])
    async with serve_app(server) as base_url:
        client = AsyncAnthropic(base_url=base_url, api_key="none")
"""

from __future__ import annotations

from aar.messages_api.api_errors import ApiError
from aar.messages_api.context.prompt_cache import CacheUse, PromptCache
from aar.messages_api.model_specs import ModelSpec, get_model_spec
from aar.messages_api.replies import (
    ModelReply,
    VerbatimResponse,
    paused_reply,
    redacted_thinking_block,
    refusal_reply,
    text_block,
    thinking_block,
    tool_use_block,
)
from aar.messages_api.request import MessagesRequest
from aar.messages_api.server.app import FakeMessagesApi, RecordedExchange, ServerRules
from aar.messages_api.server.faults import (
    NO_FAULT,
    CutShort,
    Drop,
    Fault,
    FaultSource,
    HttpError,
    Misreport,
    OtherReply,
    Slow,
    Stall,
    StreamError,
    faults_at_requests,
    faults_by_chance,
    faults_in_order,
)
from aar.messages_api.server.local_server import serve_app, serve_app_in_thread
from aar.messages_api.server.model_backends import FunctionModel, ModelBackend, ModelByTurn, ScriptedModel
from aar.messages_api.token_counts import count_block_tokens, count_text_tokens
from aar.testing.fake_messages_api.recording import RecordingProxy, ReplayModel

__all__ = [
    "NO_FAULT",
    "ApiError",
    "CacheUse",
    "CutShort",
    "Drop",
    "FakeMessagesApi",
    "Fault",
    "FaultSource",
    "FunctionModel",
    "HttpError",
    "MessagesRequest",
    "Misreport",
    "ModelBackend",
    "ModelByTurn",
    "ModelReply",
    "ModelSpec",
    "OtherReply",
    "PromptCache",
    "RecordedExchange",
    "RecordingProxy",
    "ReplayModel",
    "ScriptedModel",
    "ServerRules",
    "Slow",
    "Stall",
    "StreamError",
    "VerbatimResponse",
    "count_block_tokens",
    "count_text_tokens",
    "faults_at_requests",
    "faults_by_chance",
    "faults_in_order",
    "get_model_spec",
    "paused_reply",
    "redacted_thinking_block",
    "refusal_reply",
    "serve_app",
    "serve_app_in_thread",
    "text_block",
    "thinking_block",
    "tool_use_block",
]
