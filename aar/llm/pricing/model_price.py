"""The price of a model: dollars by kind of token, in tiers of prompt length."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from decimal import Decimal

REGIONAL_SURCHARGE = Decimal("1.1")
"""What Anthropic's own service bills, beside its list price, for inference that is bound to a region."""


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


FREE_PRICE = ModelPrice(*(Decimal(0) for _ in fields(ModelPrice)))


def scale_price(price: ModelPrice, factor: Decimal) -> ModelPrice:
    """A token price times a factor; searches keep theirs."""
    return replace(
        price,
        **{
            field.name: getattr(price, field.name) * factor
            for field in fields(price)
            if field.name != "web_search_per_1000"
        },
    )
