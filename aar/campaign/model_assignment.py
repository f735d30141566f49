"""Assigns a model and an endpoint to each researcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aar.campaign.spec import AUTO, CampaignSpec
from aar.errors import UsageError
from aar.llm.endpoints import Provider
from aar.settings import Settings

OFFLINE_MODEL = "offline-search"
"""The offline search baseline: no LLM; the model server of this package plays it."""
CLAUDE_MODEL = "claude-sonnet-5-5"
"""The model of ``auto`` if there is a key."""


@dataclass(frozen=True, slots=True)
class ModelAssignment:
    """The models of a campaign.

    Args:
        models: model ids by researcher, in order.
        fallback: the model to call when another is unavailable.
        providers: the provider of each model that is not offline.
        reviewer: the model that reviews the code of confirmed submissions; None if no Claude model is called.
    """

    models: tuple[str, ...]
    fallback: str | None = None
    providers: Mapping[str, Provider] = field(default_factory=dict)
    reviewer: str | None = None

    @property
    def all_models(self) -> tuple[str, ...]:
        """Return each model that may be called, once."""
        return tuple(dict.fromkeys([*self.models, *filter(None, (self.fallback, self.reviewer))]))

    @property
    def uses_offline_model(self) -> bool:
        """Return whether any model needs the offline model server."""
        return OFFLINE_MODEL in self.models

    @property
    def uses_paid_service(self) -> bool:
        """Return whether any model is at a service that may cost money."""
        return any(model != OFFLINE_MODEL for model in self.all_models)


def assign_models(spec: CampaignSpec, settings: Settings) -> ModelAssignment:
    """Assign a model to each researcher.

    Raises:
        UsageError: a model needs a key and there is none.
    """
    has_key = settings.claude_key is not None
    named_all = spec.researchers
    default = CLAUDE_MODEL if has_key and named_all.provider == "anthropic" else OFFLINE_MODEL
    models: list[str] = []
    providers: dict[str, Provider] = {}
    for index in range(1, named_all.count + 1):
        override = named_all.overrides.get(index)
        named = (override.model if override else None) or named_all.model
        model = default if named == AUTO else named
        models.append(model)
        provider = (override.provider if override else None) or named_all.provider
        if model != OFFLINE_MODEL and providers.setdefault(model, provider) != provider:
            raise UsageError(
                f"researcher {index} calls {model} at {provider}, another one at {providers[model]}",
                "Give each model one provider; Bedrock and Vertex spell their ids differently anyway",
            )
    if named_all.fallback is not None and named_all.fallback != OFFLINE_MODEL:
        providers.setdefault(named_all.fallback, named_all.provider)
    reviewer = spec.scoring.reviewer or next(iter(providers), None)
    if reviewer is not None:
        providers.setdefault(reviewer, named_all.provider)
    needy = next((model for model, provider in providers.items() if provider == "anthropic"), None)
    if needy is not None and not has_key and named_all.base_url is None:
        raise UsageError(
            f"model {needy} needs a key and ANTHROPIC_API_KEY is not set",
            f"Set ANTHROPIC_API_KEY or AAR_ANTHROPIC_API_KEY_FILE, or use --model {OFFLINE_MODEL} for the keyless "
            "search baseline",
        )
    return ModelAssignment(tuple(models), named_all.fallback, providers, reviewer)
