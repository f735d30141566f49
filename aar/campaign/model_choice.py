"""Which model each researcher runs on, and through which endpoint."""

from __future__ import annotations

from dataclasses import dataclass

from aar.campaign.spec import AUTO, CampaignSpec
from aar.errors import UsageError
from aar.settings import Settings

OFFLINE_MODEL = "offline-search"
"""The offline search baseline: no LLM, played by the model server that ships with this package."""
CLAUDE_MODEL = "claude-sonnet-5-5"
"""What ``auto`` means when there is a key."""


@dataclass(frozen=True, slots=True)
class Team:
    """Model ids by researcher, in order."""

    models: tuple[str, ...]

    @property
    def offline(self) -> bool:
        """Whether anybody needs the offline model server."""
        return OFFLINE_MODEL in self.models

    @property
    def paid(self) -> bool:
        """Whether anybody calls a service that may cost money."""
        return any(model != OFFLINE_MODEL for model in self.models)


def resolve_team(spec: CampaignSpec, settings: Settings) -> Team:
    """The model of each researcher.

    Raises:
        UsageError: a model needs a key and there is none.
    """
    has_key = settings.anthropic_api_key is not None and bool(settings.anthropic_api_key.get_secret_value().strip())
    fallback = CLAUDE_MODEL if has_key else OFFLINE_MODEL
    models = []
    for index in range(1, spec.researchers.count + 1):
        override = spec.researchers.overrides.get(index)
        named = (override.model if override else None) or spec.researchers.model
        models.append(fallback if named == AUTO else named)
    needy = next((model for model in models if model != OFFLINE_MODEL), None)
    if needy is not None and not has_key and spec.researchers.base_url is None:
        raise UsageError(
            f"model {needy} needs a key and ANTHROPIC_API_KEY is not set",
            f"Set ANTHROPIC_API_KEY, or use --model {OFFLINE_MODEL} for the keyless search baseline",
        )
    return Team(tuple(models))
