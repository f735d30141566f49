"""What a model call costs, and what it can cost at worst.

Prices come from the data that the ``genai-prices`` package ships with (never updated from the network), from the
spec's ``prices`` for models it does not know, and are zero for the offline search baseline. Dollars are Decimals and
round up to the nanodollar.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from aar.budget.usage import Usage
from aar.errors import SpecError

OFFLINE_MODEL = "offline-search"
"""The seeded search baseline that needs no key and costs nothing."""
_MILLION = Decimal(1_000_000)
_NANO = Decimal(10) ** -9


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
    """The price of calls with more than ``above`` prompt tokens; it holds for all tokens of such a call."""

    above: int
    price: ModelPrice


FREE = ModelPrice(*(Decimal(0) for _ in fields(ModelPrice)))


class PriceBook:
    """Prices of all models a campaign may call.

    Args:
        overrides: by model id; they win over the library.
    """

    def __init__(self, overrides: Mapping[str, ModelPrice] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def price(self, model: str, prompt_tokens: int = 0) -> ModelPrice:
        """The price that a call with so many prompt tokens pays.

        Raises:
            SpecError: nobody knows what the model costs.
        """
        tiers = self._tiers(model)
        return next(tier.price for tier in reversed(tiers) if prompt_tokens > tier.above or tier is tiers[0])

    def cost(self, model: str, usage: Usage) -> Decimal:
        """Dollars that the usage is billed at. Raises SpecError for a model without a price."""
        price = self.price(model, usage.tier_tokens)
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

    def worst_case(self, model: str, input_tokens: int, max_output_tokens: int) -> Decimal:
        """The most that a call without server tools can cost: every prompt token at the dearest input kind, in the
        dearest tier that so long a prompt can reach, and the whole output. Raises SpecError."""
        reachable = [tier.price for tier in self._tiers(model) if tier.above < max(input_tokens, 1)]
        return round_up(
            max(
                input_tokens * max(price.input, price.cache_write_5m, price.cache_write_1h, price.cache_read)
                + max_output_tokens * price.output
                for price in reachable
            )
            / _MILLION
        )

    def _tiers(self, model: str) -> tuple[PriceTier, ...]:
        if model in self._overrides:
            return (PriceTier(0, self._overrides[model]),)
        if model == OFFLINE_MODEL:
            return (PriceTier(0, FREE),)
        return _library_tiers(model)


def round_up(usd: Decimal) -> Decimal:
    """Dollars, rounded up to the nanodollar that the ledger keeps."""
    exact = usd.quantize(_NANO, ROUND_CEILING).normalize()
    return exact.quantize(Decimal(1)) if exact == exact.to_integral_value() else exact


@lru_cache(maxsize=256)
def _library_tiers(model: str) -> tuple[PriceTier, ...]:
    # Imported here: the price tables take over half a second, which `aar --help` must not pay.
    from aar.budget.price_library import known_models, look_up

    tiers = look_up(model)
    if tiers is None:
        near = difflib.get_close_matches(model, [*known_models(), OFFLINE_MODEL], n=1)
        raise SpecError(
            f"no price is known for model {model}",
            (f"Did you mean {near[0]}? If not, write" if near else "Write")
            + f" its price in the spec under `prices:`, as `{model}: {{input: 3, output: 15, cache_write_5m: 3.75,"
            " cache_write_1h: 6, cache_read: 0.3}` in dollars per million tokens",
        )
    return tiers


def scaled(price: ModelPrice, factor: Decimal) -> ModelPrice:
    """A token price times a factor; searches keep theirs."""
    return replace(
        price,
        **{
            field.name: getattr(price, field.name) * factor
            for field in fields(price)
            if field.name != "web_search_per_1000"
        },
    )
