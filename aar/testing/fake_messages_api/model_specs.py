"""Specifications of models: sizes, thinking, and the prompt cache's minimum.

Sources, read in November 2026: platform.claude.com/docs "Models overview" (window, output), "Prompt caching"
(cacheable minimum; for the 5.5 models, OpenRouter's migration guide), "Thinking" and the migration guides (kinds of
thinking, prefill, whether earlier turns keep their thinking). A model that is not listed gets ``DEFAULT_SPEC``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_ALL = frozenset({"adaptive", "enabled", "disabled", "between_tools"})


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's limits and features.

    Args:
        window: tokens of the context window.
        most_output: tokens of the longest reply.
        least_cached: tokens of the shortest prefix that the prompt cache keeps.
        thinking: the values of ``thinking.type`` that it takes.
        thinks_unasked: thinking is on by default.
        keeps_thinking: thinking of earlier turns stays in the context; older models drop it.
        prefill: a conversation may end with an assistant message.
        binds_thinking: a thinking block is valid only in its own conversation.
    """

    window: int = 1_000_000
    most_output: int = 128_000
    least_cached: int = 1024
    thinking: frozenset[str] = _ALL
    thinks_unasked: bool = False
    keeps_thinking: bool = True
    prefill: bool = False
    binds_thinking: bool = False


DEFAULT_SPEC = ModelSpec()
"""Specification of a model that is not listed."""

_ALWAYS = ModelSpec(least_cached=512, thinking=frozenset({"adaptive", "between_tools"}), thinks_unasked=True)
_ADAPTIVE = ModelSpec(thinking=frozenset({"adaptive", "disabled", "between_tools"}))
_MANUAL = ModelSpec(200_000, 64_000, thinking=frozenset({"enabled", "disabled"}), keeps_thinking=False, prefill=True)

_BY_PREFIX = (
    ("claude-fable-5-", replace(_ALWAYS, binds_thinking=True)),
    ("claude-mythos-5-", replace(_ALWAYS, binds_thinking=True)),
    ("claude-fable-5", _ALWAYS),
    ("claude-mythos", _ALWAYS),
    ("claude-opus-5-5", replace(_ALWAYS, binds_thinking=True)),
    ("claude-sonnet-5-5", replace(_ADAPTIVE, least_cached=512, thinks_unasked=True, binds_thinking=True)),
    ("claude-haiku-5-5", replace(_ADAPTIVE, least_cached=512, thinks_unasked=True, binds_thinking=True)),
    ("claude-opus-5", replace(_ADAPTIVE, least_cached=512, thinking=_ALL, thinks_unasked=True)),
    ("claude-sonnet-5", replace(_ADAPTIVE, thinks_unasked=True)),
    ("claude-opus-4-8", _ADAPTIVE),
    ("claude-opus-4-7", replace(_ADAPTIVE, least_cached=2048)),
    ("claude-opus-4-6", ModelSpec(least_cached=4096)),
    ("claude-sonnet-4-6", ModelSpec(most_output=64_000)),
    ("claude-opus-4-5", replace(_MANUAL, least_cached=4096, keeps_thinking=True)),
    ("claude-sonnet-4-5", _MANUAL),
    ("claude-haiku-4-5", replace(_MANUAL, least_cached=4096)),
)


def get_model_spec(model: str) -> ModelSpec:
    """Return the specification of a model id.

    A date or a provider's prefix does not matter.
    """
    name = model.rsplit("/", 1)[-1].removeprefix("anthropic.")
    return next((traits for prefix, traits in _BY_PREFIX if name.startswith(prefix)), DEFAULT_SPEC)


def model_entry(model: str) -> dict[str, object]:
    """Return a model's entry in ``/v1/models``."""
    traits = get_model_spec(model)
    return {
        "type": "model",
        "id": model,
        "display_name": model,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": traits.window,
        "max_tokens": traits.most_output,
        "capabilities": _capabilities(traits),
    }


def _capabilities(traits: ModelSpec) -> dict[str, object]:
    def part(supported: bool, **more: object) -> dict[str, object]:
        return {"supported": supported, **more}

    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    efforts = {level: part("adaptive" in traits.thinking) for level in ("low", "medium", "high", "xhigh", "max")}
    editing = ("clear_thinking_20251015", "clear_tool_uses_20250919")
    return {
        "batch": part(False),
        "citations": part(False),
        "code_execution": part(False),
        "context_management": part(
            True,
            compact_20260112=part("adaptive" in traits.thinking),
            **{name: part(True) for name in editing},
        ),
        "effort": part("adaptive" in traits.thinking, **efforts),
        "image_input": part(True),
        "pdf_input": part(False),
        "server_tools": part(False, code_execution=part(False), web_search=part(False)),
        "structured_outputs": part(False),
        "thinking": part(True, types={kind: part(kind in traits.thinking) for kind in kinds}),
    }
