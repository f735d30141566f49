"""The price of a model: dollars by token kind and prompt length."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from decimal import Decimal

REGIONAL_SURCHARGE = Decimal("1.1")
"""The surcharge of Anthropic's own service on its list price for inference in a bound region."""


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
