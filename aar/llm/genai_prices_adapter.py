"""Reads the price tables of ``genai-prices``, and maps further model ids.

Importing this module loads the price tables (over half a second): import it where a price is needed, not before.
Batch prices are left out: no call is made in that mode, and they are lower than the others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from genai_prices import types as library
from genai_prices.data import providers

from aar.llm.price_book import BEDROCK, DATE, REGIONAL_SURCHARGE, VERTEX, ModelPrice, PriceTier, scale_price

_FAST = {"speed": "fast"}


def known_models() -> list[str]:
    """Return the ids of Anthropic's models in the tables."""
    return [model.id for model in _provider("anthropic").models]


def find_price_tiers(model: str, *, fast: bool = False) -> tuple[PriceTier, ...] | None:
    """Return the price tiers of a model id of Anthropic, Bedrock or Vertex.

    It is None if unknown.

    Args:
        fast: those of the fast mode.
    """
    bedrock = BEDROCK.match(model)
    if bedrock is not None:
        match = _provider("aws").find_model(model)
        if match is not None:
            return _tiers(match, fast=fast)
        plain = _anthropic(bedrock["name"], fast=fast)
        if plain is None or bedrock["region"] == "global":
            return plain
        # Endpoints bound to a region cost a tenth more than the global ones there too, as in the library's own tables.
        return tuple(PriceTier(tier.above, scale_price(tier.price, REGIONAL_SURCHARGE)) for tier in plain)
    vertex = VERTEX.match(model)
    return _anthropic(vertex["name"] if vertex is not None else model, fast=fast)


def matched_model(model: str) -> str:
    """Return the id in the tables whose price a model id gets.

    It is empty if there is none.
    """
    bedrock, vertex = BEDROCK.match(model), VERTEX.match(model)
    match = None if bedrock is None else _provider("aws").find_model(model)
    spelled = bedrock or vertex
    match = match or _find(spelled["name"] if spelled is not None else model)
    return "" if match is None else match.id


def _anthropic(name: str, *, fast: bool) -> tuple[PriceTier, ...] | None:
    match = _find(name)
    return None if match is None else _tiers(match, fast=fast)


def _find(name: str) -> library.ModelInfo | None:
    provider = _provider("anthropic")
    return provider.find_model(name) or provider.find_model(DATE.sub("", name))


def _provider(name: str) -> library.Provider:
    return next(provider for provider in providers if provider.id == name)


def _tiers(model: library.ModelInfo, *, fast: bool) -> tuple[PriceTier, ...] | None:
    moment = datetime.now(UTC)
    standard = model.get_prices(moment)
    prices = model.get_prices(moment, _FAST) if fast else standard
    if fast and prices == standard:
        return None
    if prices.input_mtok is None or prices.output_mtok is None:
        return None
    kinds = (prices.input_mtok, prices.output_mtok, prices.cache_write_mtok, prices.cache_read_mtok)
    starts = {tier.start for kind in kinds if isinstance(kind, library.TieredPrices) for tier in kind.tiers}
    return tuple(PriceTier(start, _at(prices, start + 1 if start else 0)) for start in sorted({0, *starts}))


def _at(prices: library.ModelPrice, prompt_tokens: int) -> ModelPrice:
    plain = _value(prices.input_mtok, prompt_tokens, Decimal(0))
    searches = prices.web_searches_kcount
    # Models too old for caching have no cache prices; a write there costs what writes cost elsewhere.
    return ModelPrice(
        input=plain,
        output=_value(prices.output_mtok, prompt_tokens, Decimal(0)),
        cache_write_5m=_value(prices.cache_write_mtok, prompt_tokens, plain * Decimal("1.25")),
        cache_write_1h=_value(prices.cache_write_1h_mtok, prompt_tokens, plain * 2),
        cache_read=_value(prices.cache_read_mtok, prompt_tokens, plain),
        web_search_per_1000=_value(searches, prompt_tokens, Decimal(10)),
    )


def _value(price: Decimal | library.TieredPrices | None, prompt_tokens: int, absent: Decimal) -> Decimal:
    if price is None:
        return absent
    if isinstance(price, library.TieredPrices):
        return next((tier.price for tier in reversed(price.tiers) if prompt_tokens > tier.start), price.base)
    return price
