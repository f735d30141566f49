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

from aar.testing.fake_messages_api.app import FakeMessagesApi, RecordedExchange, ServerRules
from aar.testing.fake_messages_api.faults import (
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
from aar.testing.fake_messages_api.model_backends import FunctionModel, ModelBackend, ModelByTurn, ScriptedModel
from aar.testing.fake_messages_api.model_specs import ModelSpec, get_model_spec
from aar.testing.fake_messages_api.prompt_cache import CacheUse, PromptCache
from aar.testing.fake_messages_api.recording import RecordingProxy, ReplayModel
from aar.testing.fake_messages_api.replies import (
    ModelReply,
    VerbatimResponse,
    count_block_tokens,
    count_text_tokens,
    paused_reply,
    redacted_thinking_block,
    refusal_reply,
    text_block,
    thinking_block,
    tool_use_block,
)
from aar.testing.fake_messages_api.request import ApiError, MessagesRequest
from aar.testing.fake_messages_api.transport import serve_app, serve_app_in_thread

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
