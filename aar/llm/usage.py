"""Token usage of a model call, as billed, with checks of the reported figures.

A limit is only as reliable as these figures. Servers in between may omit usage, send zeros, or lower at the end the
figures from the start. So reported figures never decrease, and every implausible figure is a doubt. A call with a doubt
is charged at least its reservation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

MISSING = "figures are missing"
NO_END = "the end of the reply came without figures"
NEGATIVE = "a figure is negative"
NOT_WHOLE = "a figure is not a whole number"
IMPLAUSIBLE = "a figure is larger than any model's context"
ZERO = "a figure is zero for content that is there"
SHRANK = "a figure shrank while the reply came in"
UNKNOWN_TERMS = "no price is known for the service tier, speed or region"

_FIGURES = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_TERMS = ("inference_geo", "speed", "service_tier")
_LARGEST_FIGURE = 10**9
_ANYWHERE = frozenset({"", "global", "not_available"})
_USUAL_SPEEDS = frozenset({"", "standard"})
_USUAL_TIERS = frozenset({"", "standard", "default", "batch", "priority"})
"""Batches are cheaper and committed capacity is paid in advance: the list price is never too low for either."""
_USUAL = {"inference_geo": _ANYWHERE, "speed": _USUAL_SPEEDS, "service_tier": _USUAL_TIERS}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call by the kinds that have their own price.

    Args:
        input_tokens: prompt tokens that neither wrote nor read the cache.
        cache_write_5m_tokens, cache_write_1h_tokens: prompt tokens written to the cache, by lifetime.
        cache_read_tokens: prompt tokens read from the cache.
        output_tokens: everything generated, thinking included.
        server_tool_uses: web searches, billed one by one; web fetches are not billed.
        largest_prompt: prompt tokens of the largest single sampling pass, which decides the price tier; 0 means that
            the call was one pass, so the whole prompt decides.
    """

    input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    server_tool_uses: int = 0
    largest_prompt: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All prompt tokens, cached or not."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    @property
    def total(self) -> int:
        """All tokens of all kinds."""
        return self.prompt_tokens + self.output_tokens

    @property
    def tier_tokens(self) -> int:
        """The prompt size that decides the price tier."""
        return self.largest_prompt or self.prompt_tokens

    def at_least(self, other: Usage) -> Usage:
        """Return the larger of two prompts with the longer of two outputs."""
        larger = self if self.prompt_tokens >= other.prompt_tokens else other
        return replace(
            larger,
            output_tokens=max(self.output_tokens, other.output_tokens),
            server_tool_uses=max(self.server_tool_uses, other.server_tool_uses),
        )


@dataclass(frozen=True, slots=True)
class ServedTerms:
    """Terms of service of a call that change its price.

    Args:
        models: named in the reply; empty if it is the called model.
        regional: inference was bound to a region.
        fast: in the fast mode.
    """

    models: tuple[str, ...] = ()
    regional: bool = False
    fast: bool = False


@dataclass(frozen=True, slots=True)
class CallBill:
    """The charge of a call.

    Args:
        usage: tokens.
        served: its terms.
        doubts: implausible figures.
        unknown: there are no figures, because the call did not end.
    """

    usage: Usage
    served: ServedTerms = ServedTerms()
    doubts: tuple[str, ...] = ()
    unknown: bool = False

    @property
    def is_worst_case(self) -> bool:
        """Return whether at least the reservation is charged."""
        return self.unknown or bool(self.doubts)

    def at_least(self, worst: Usage) -> Usage:
        """Return the usage to charge, given the worst case."""
        return self.usage.at_least(worst) if self.is_worst_case else self.usage


class ReportedUsage:
    """The ``usage`` of one reply, received in one piece or several; figures only grow."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        """The known figures with the service's field names, without implausible ones."""
        self._doubts: dict[str, None] = {}
        self._has_final_output = False

    def take(self, usage: object, *, last: bool = True) -> None:
        """Add the figures of one event.

        Args:
            last: whether it belongs to the end of the reply, where its output is counted completely.
        """
        if usage is None:
            return
        if not isinstance(usage, Mapping):
            self._doubts[MISSING] = None
            return
        cleaned, doubts = _cleaned(usage)
        self._has_final_output = self._has_final_output or (last and "output_tokens" in cleaned)
        self._doubts.update(dict.fromkeys(doubts))
        if _grow(self.figures, cleaned):
            self._doubts[SHRANK] = None

    def bill(self, *, called: str, model: str | None, content: bool) -> CallBill:
        """Return the charge of a complete reply.

        Args:
            called: the called model.
            model: named in the reply; None if it names none.
            content: whether the reply has any.
        """
        doubts = [*self._doubts, *_gaps(self.figures)]
        if MISSING not in doubts and not self._has_final_output:
            doubts.append(NO_END)
        usage = parse_usage(self.figures)
        if not usage.prompt_tokens or (content and not usage.output_tokens):
            doubts.append(ZERO)
        return self._billed(usage, doubts, called, model)

    def bill_partial(self, worst: Usage, *, called: str, model: str | None) -> CallBill:
        """Return the charge of a reply that broke off.

        It has the prompt as the service counted it, if it did, and the longest reply, because the unseen output is
        unknown.
        """
        usage = parse_usage(self.figures)
        if "input_tokens" not in self.figures or not usage.prompt_tokens:
            bill = self._billed(usage.at_least(worst), self._doubts, called, model or called)
            return replace(bill, unknown=True)
        longest = replace(usage, output_tokens=max(usage.output_tokens, worst.output_tokens))
        return self._billed(longest, self._doubts, called, model or called)

    def _billed(self, usage: Usage, doubts: Iterable[str], called: str, model: str | None) -> CallBill:
        served, known = _served(self.figures, called, model)
        return CallBill(usage, served, tuple(dict.fromkeys([*doubts, *(() if known else (UNKNOWN_TERMS,))])))


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """Parse the usage of a complete reply from its ``usage`` object.

    The tokens of a compaction are in no top-level figure, so where ``usage.iterations`` are listed the larger of their
    sum and the top-level figure counts, kind by kind. Cache writes of unknown lifetime count as the dearer one-hour
    kind.
    """
    cleaned, _ = _cleaned(usage)
    whole, passes = _of_pass(cleaned), [_of_pass(each) for each in cleaned.get("iterations", ())]
    if not passes:
        passes = [whole]
    searches = cleaned.get("server_tool_use", {}).get("web_search_requests", 0)
    together = Usage(
        input_tokens=max(whole.input_tokens, sum(each.input_tokens for each in passes)),
        cache_write_5m_tokens=max(whole.cache_write_5m_tokens, sum(each.cache_write_5m_tokens for each in passes)),
        cache_write_1h_tokens=max(whole.cache_write_1h_tokens, sum(each.cache_write_1h_tokens for each in passes)),
        cache_read_tokens=max(whole.cache_read_tokens, sum(each.cache_read_tokens for each in passes)),
        output_tokens=max(whole.output_tokens, sum(each.output_tokens for each in passes)),
        server_tool_uses=searches,
    )
    return replace(together, largest_prompt=max(each.prompt_tokens for each in [whole, *passes]))


def _of_pass(cleaned: Mapping[str, Any]) -> Usage:
    written = cleaned.get("cache_creation_input_tokens", 0)
    created = cleaned.get("cache_creation", {})
    five_minutes = created.get("ephemeral_5m_input_tokens", 0)
    return Usage(
        input_tokens=cleaned.get("input_tokens", 0),
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=max(written - five_minutes, created.get("ephemeral_1h_input_tokens", 0)),
        cache_read_tokens=cleaned.get("cache_read_input_tokens", 0),
        output_tokens=cleaned.get("output_tokens", 0),
    )


def _cleaned(usage: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the plausible figures of a ``usage`` object, and the doubts about the rest."""
    doubts: list[str] = []
    cleaned = _whole_figures(usage, _FIGURES, doubts)
    for name, figures in (("cache_creation", _LIFETIMES), ("server_tool_use", ("web_search_requests",))):
        part = usage.get(name)
        if isinstance(part, Mapping):
            cleaned[name] = _whole_figures(part, figures, doubts)
        elif part is not None:
            doubts.append(NOT_WHOLE)
    for name in _TERMS:
        if usage.get(name) is not None:
            cleaned[name] = str(usage[name])
    rows = usage.get("iterations")
    if isinstance(rows, (list, tuple)) and all(isinstance(row, Mapping) for row in rows):
        passes = [_cleaned({key: value for key, value in row.items() if key != "iterations"}) for row in rows]
        for place, (row, wrong) in enumerate(passes):
            doubts += wrong
            if rows[place].get("model"):
                row["model"] = str(rows[place]["model"])
        cleaned["iterations"] = [row for row, _ in passes]
    elif rows is not None:
        doubts.append(MISSING)
    return cleaned, doubts


def _whole_figures(usage: Mapping[str, Any], names: Iterable[str], doubts: list[str]) -> dict[str, Any]:
    cleaned = {}
    for name in names:
        value = usage.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:  # NaN
            doubts.append(NOT_WHOLE)
            continue
        if value < 0:
            doubts.append(NEGATIVE)
        if value > _LARGEST_FIGURE:
            doubts.append(IMPLAUSIBLE)
        bounded = min(max(value, 0), _LARGEST_FIGURE)
        if bounded != int(bounded):
            doubts.append(NOT_WHOLE)
        cleaned[name] = math.ceil(bounded)
    return cleaned


def _grow(seen: dict[str, Any], cleaned: Mapping[str, Any]) -> bool:
    """Add later figures to earlier ones.

    Return whether any was smaller, which then stays as it was.
    """
    shrank = _grow_figures(seen, cleaned, _FIGURES)
    if "cache_creation" in cleaned:
        shrank |= _grow_split(seen, cleaned)
    if "server_tool_use" in cleaned:
        searches = seen.setdefault("server_tool_use", {})
        shrank |= _grow_figures(searches, cleaned["server_tool_use"], ("web_search_requests",))
    for name in _TERMS:
        # The dearer of two values stays: an unusual value was sent for a reason.
        if name in cleaned and (name not in seen or cleaned[name] not in _USUAL[name]):
            seen[name] = cleaned[name]
    if "iterations" in cleaned:
        before, now = (parse_usage({"iterations": each.get("iterations", [])}) for each in (seen, cleaned))
        fell = any(getattr(now, kind) < getattr(before, kind) for kind in Usage.__slots__)
        seen["iterations"] = [_larger_pass(before, now)] if fell else cleaned["iterations"]
        shrank |= fell
    return shrank


def _larger_pass(one: Usage, other: Usage) -> dict[str, Any]:
    """Return a single pass with the larger figure of each kind."""
    five_minutes = max(one.cache_write_5m_tokens, other.cache_write_5m_tokens)
    hour = max(one.cache_write_1h_tokens, other.cache_write_1h_tokens)
    return {
        "input_tokens": max(one.input_tokens, other.input_tokens),
        "cache_creation_input_tokens": five_minutes + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": hour},
        "cache_read_input_tokens": max(one.cache_read_tokens, other.cache_read_tokens),
        "output_tokens": max(one.output_tokens, other.output_tokens),
    }


def _grow_figures(seen: dict[str, Any], cleaned: Mapping[str, Any], names: Iterable[str]) -> bool:
    shrank = False
    for name in names:
        if name in cleaned:
            shrank |= cleaned[name] < seen.get(name, 0)
            seen[name] = max(cleaned[name], seen.get(name, 0))
    return shrank


def _grow_split(seen: dict[str, Any], cleaned: Mapping[str, Any]) -> bool:
    """Take the later split of cache writes.

    It may call other tokens long-lived, never fewer.
    """
    before, later = seen.get("cache_creation", {}), cleaned["cache_creation"]
    written = max(sum(before.values()), sum(later.values()))
    hour = max(each.get("ephemeral_1h_input_tokens", 0) for each in (before, later))
    seen["cache_creation"] = {
        "ephemeral_5m_input_tokens": written - hour,
        "ephemeral_1h_input_tokens": hour,
    }
    return bool(sum(later.values()) < sum(before.values()))


def _gaps(cleaned: Mapping[str, Any]) -> list[str]:
    whole = [cleaned, *cleaned.get("iterations", ())]
    return [MISSING for each in whole if "input_tokens" not in each or "output_tokens" not in each][:1]


def _served(cleaned: Mapping[str, Any], called: str, model: str | None) -> tuple[ServedTerms, bool]:
    """Return a call's served terms, and whether their price may be known."""
    geo, speed, tier = (cleaned.get(name, "").lower() for name in _TERMS)
    named = dict.fromkeys([model or "", *(row["model"] for row in cleaned.get("iterations", ()) if "model" in row)])
    known = geo in _ANYWHERE | {"us"} and speed in _USUAL_SPEEDS | {"fast"} and tier in _USUAL_TIERS
    served = ServedTerms(
        models=tuple(each for each in named if each != called),
        regional=geo not in _ANYWHERE,
        fast=speed not in _USUAL_SPEEDS,
    )
    return served, known
