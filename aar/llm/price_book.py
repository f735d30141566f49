"""The price book: the cost of a model call, and its worst case.

Prices come from the data that the ``genai-prices`` package ships with (never updated from the network), from the
spec's ``prices`` for models it does not know, and are zero for the offline search baseline. Dollars are Decimals and
round up to the nanodollar.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from aar.errors import SpecError
from aar.llm.usage import ServedTerms, Usage

CLAUDE_MODEL = "claude-sonnet-5-5"
"""The model of ``auto`` if there is a key."""
OFFLINE_MODEL = "offline-search"
"""The offline search baseline: no LLM; the model server of this package plays it, without a key and at no cost."""
NO_MODEL = "the reply does not name the model that answered"
_AS_ASKED = ServedTerms()
_MILLION = Decimal(1_000_000)
_NANO = Decimal(10) ** -9
REGIONAL_SURCHARGE = Decimal("1.1")
"""The surcharge of Anthropic's own service on its list price for inference in a bound region."""
BEDROCK = re.compile(r"^(?:(?P<region>[a-z]{2,6}(?:-[a-z]+)?)\.)?anthropic\.(?P<name>claude-.+?)(?:-v\d+)?(?::\d+)?$")
VERTEX = re.compile(r"^(?P<name>claude-[^@]+)@(?P<version>\d{8}|default|latest)$")
DATE = re.compile(r"-\d{8}$")


class PriceBook:
    """The prices of all models that a campaign may call.

    Args:
        overrides: by model id; they win over the library.
    """

    def __init__(self, overrides: Mapping[str, ModelPrice] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def price(self, model: str, prompt_tokens: int = 0) -> ModelPrice:
        """Return the price of a call with so many prompt tokens.

        Raises:
            SpecError: the model has no known price.
        """
        return _at(self._tiers(model), prompt_tokens)

    def priced_as(self, model: str) -> str:
        """Return the id of the model whose price is used, if different.

        Else empty.
        """
        if model in self._overrides or model == OFFLINE_MODEL:
            return ""
        from aar.llm.genai_prices_adapter import matched_model  # takes over half a second to load

        other = matched_model(model)
        return "" if other == model else other

    def cost(self, model: str, usage: Usage, served: ServedTerms = _AS_ASKED) -> Decimal:
        """Return the usage's cost in dollars, at the dearest price of its terms.

        Raises:
            SpecError: the called model has no price.
        """
        return max(_bill(_at(tiers, usage.tier_tokens), usage) for tiers in self._ways(model, served))

    def worst_case(
        self, model: str, input_tokens: int, max_output_tokens: int, served: ServedTerms = _AS_ASKED
    ) -> Decimal:
        """Return the most that a call without server tools can cost.

        That is every prompt token at the dearest input kind, in the dearest tier that so long a prompt can reach, and
        the longest output. A workspace may bind inference to a region by itself, so that surcharge is included.

        Args:
            served: terms of earlier calls, if they were dearer than requested.

        Raises:
            SpecError: the model has no price.
        """
        reachable = [
            tier.price
            for tiers in self._ways(model, replace(served, regional=True))
            for tier in tiers
            if tier.above < max(input_tokens, 1)
        ]
        return round_up(
            max(
                input_tokens * max(price.input, price.cache_write_5m, price.cache_write_1h, price.cache_read)
                + max_output_tokens * price.output
                for price in reachable
            )
            / _MILLION
        )

    def doubts(self, model: str, served: ServedTerms) -> tuple[str, ...]:
        """Return the served terms that have no known price."""
        found = []
        for name in self._names(model, served):
            if self._known(name) is None:
                found.append(f"no price is known for the model that answered, {name}" if name else NO_MODEL)
            elif served.fast and self._known(name, fast=True) is None:
                found.append(f"no price is known for {name} in the fast mode")
        return tuple(found)

    def _ways(self, model: str, served: ServedTerms) -> list[tuple[PriceTier, ...]]:
        """Return the price tiers of everything possibly billed, as far as known."""
        found = [self._tiers(model)]
        for name in self._names(model, served):
            for fast in (False, True) if served.fast else (False,):
                tiers = self._known(name, fast=fast)
                if tiers is not None:
                    surcharged = served.regional and name not in self._overrides and is_first_party(name)
                    found.append(_scaled_tiers(tiers, REGIONAL_SURCHARGE) if surcharged else tiers)
        return found

    @staticmethod
    def _names(model: str, served: ServedTerms) -> list[str]:
        """Return the called model, and really different models in the reply.

        A longer spelling of the called model is the same model.
        """
        return [model, *(other for other in served.models if plain_name(other) != plain_name(model))]

    def _known(self, model: str, *, fast: bool = False) -> tuple[PriceTier, ...] | None:
        try:
            return self._tiers(model, fast=fast)
        except SpecError:
            return None

    def _tiers(self, model: str, *, fast: bool = False) -> tuple[PriceTier, ...]:
        if model in self._overrides:
            return (PriceTier(0, self._overrides[model]),)
        if model == OFFLINE_MODEL:
            return (PriceTier(0, FREE_PRICE),)
        return _library_tiers(model, fast)


def _at(tiers: tuple[PriceTier, ...], prompt_tokens: int) -> ModelPrice:
    return next(tier.price for tier in reversed(tiers) if prompt_tokens > tier.above or tier is tiers[0])


def _bill(price: ModelPrice, usage: Usage) -> Decimal:
    return round_up(
        (
            usage.input_tokens * price.input
            + usage.cache_write_5m_tokens * price.cache_write_5m
            + usage.cache_write_1h_tokens * price.cache_write_1h
            + usage.cache_read_tokens * price.cache_read
            + usage.output_tokens * price.output
        )
        / _MILLION
        + usage.server_tool_uses * price.web_search_per_1000 / 1000
    )


def round_up(usd: Decimal) -> Decimal:
    """Round dollars up to the nanodollar of the ledger."""
    exact = usd.quantize(_NANO, ROUND_CEILING).normalize()
    return exact.quantize(Decimal(1)) if exact == exact.to_integral_value() else exact


@lru_cache(maxsize=256)
def _library_tiers(model: str, fast: bool) -> tuple[PriceTier, ...]:
    # Imported here: the price tables take over half a second, which `aar --help` must not pay.
    from aar.llm.genai_prices_adapter import find_price_tiers, known_models

    tiers = find_price_tiers(model, fast=fast)
    if tiers is None:
        near = difflib.get_close_matches(model, [*known_models(), OFFLINE_MODEL], n=1)
        raise SpecError(
            f"no price is known for model {model}",
            (f"Did you mean {near[0]}? If not, write" if near else "Write")
            + f" its price in the spec under `prices:`, as `{model}: {{input: 3, output: 15, cache_write_5m: 3.75,"
            " cache_write_1h: 6, cache_read: 0.3}` in dollars per million tokens",
        )
    return tiers


@lru_cache(maxsize=256)
def _scaled_tiers(tiers: tuple[PriceTier, ...], factor: Decimal) -> tuple[PriceTier, ...]:
    return tuple(PriceTier(tier.above, scale_price(tier.price, factor)) for tier in tiers)


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Dollars per million tokens by kind, and per thousand web searches."""

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    web_search_per_1000: Decimal = Decimal(10)


@dataclass(frozen=True, slots=True)
class PriceTier:
    """The price of calls with more than ``above`` prompt tokens.

    It applies to all tokens of such a call.
    """

    above: int
    price: ModelPrice


FREE_PRICE = ModelPrice(*(Decimal(0) for _ in fields(ModelPrice)))


def scale_price(price: ModelPrice, factor: Decimal) -> ModelPrice:
    """Multiply a token price by a factor; web searches stay the same."""
    return replace(
        price,
        **{
            field.name: getattr(price, field.name) * factor
            for field in fields(price)
            if field.name != "web_search_per_1000"
        },
    )


def plain_name(model: str) -> str:
    """Return the id without provider, region, version and date.

    Replies may use a longer name than the request.
    """
    spelled = BEDROCK.match(model) or VERTEX.match(model)
    return DATE.sub("", spelled["name"] if spelled is not None else model)


def is_first_party(model: str) -> bool:
    """Return whether an id has the spelling of Anthropic's own service."""
    return model.startswith("claude-") and VERTEX.match(model) is None
