"""No pattern of the package takes more than its text's length: each is pumped with what nearly matches it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aar
from aar.forum.markdown import Document, replace_image_addresses
from aar.problems.protocol import RunLimits
from aar.readmodels.secret_scrubber import Scrubber
from aar.sandbox.protocol import ExecResult, ExitReason
from aar.scoring.results.verdict_messages import failure_message, output_rejected_message, remove_host_paths

_PARSER: Any = re._parser  # type: ignore[attr-defined]  # the only way to see what a pattern is made of
_SHORT, _TIMES = 1_500, 8
_SLOWEST = 0.02
"""Seconds that are too few to tell anything."""


def _patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for module in pkgutil.walk_packages(aar.__path__, "aar."):
        if module.name.startswith(("aar.testing", "aar.problems.weak_to_strong.lab")) or module.name == "aar.__main__":
            continue
        if ".baselines" in module.name or ".migrations" in module.name or module.name.endswith((".run", ".env")):
            continue
        try:
            found = vars(importlib.import_module(module.name))
        except ImportError:  # an optional extra
            continue
        for name, value in found.items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


def _samples(parts: Any) -> list[str]:
    """Texts that match a parsed pattern, one a branch; look-arounds are taken as matched by nothing."""
    found = [""]
    for code, value in parts:
        match str(code):
            case "LITERAL":
                choices = [chr(value)]
            case "NOT_LITERAL":
                choices = ["x" if value != ord("x") else "y"]
            case "ANY":
                choices = ["x"]
            case "IN":
                choices = [_member(value)]
            case "BRANCH":
                choices = [sample for branch in value[1] for sample in _samples(branch)]
            case "SUBPATTERN":
                choices = _samples(value[3])
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, _, inner = value
                choices = [each * max(1, min(least, 40)) for each in _samples(inner)]
            case _:
                choices = [""]
        found = [before + choice for before in found for choice in choices][:12]
    return found


def _member(items: Any) -> str:
    allowed = re.compile("[" + "".join(_spelled(item) for item in items) + "]")
    return next((each for each in "a1 x-/.A\n\x1b\"'" if allowed.match(each)), "a")


def _spelled(item: Any) -> str:
    code, value = item
    match str(code):
        case "NEGATE":
            return "^"
        case "LITERAL":
            return re.escape(chr(value))
        case "RANGE":
            return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
        case _:
            names = {"CATEGORY_SPACE": r"\s", "CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w"}
            return names.get(str(value), "") or names[str(value).replace("NOT_", "")].upper()


def _units(pattern: re.Pattern[Any]) -> set[str]:
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    flags = pattern.flags & ~re.DEBUG
    whole = _samples(_PARSER.parse(text, flags))
    cuts = {sample[:end] for sample in whole for end in range(1, len(sample) + 1)}
    return {*cuts, *(sample[-1] for sample in cuts), " ", "\n", "a", "1"}


def _seconds(call: Callable[[Any], object], text: Any) -> float:
    begun = time.process_time()
    call(text)
    return time.process_time() - begun


def _grows_faster(call: Callable[[Any], object], unit: str, head: str = "", *, as_bytes: bool = False) -> bool:
    texts: list[Any] = [head + unit * (length // len(unit)) for length in (_SHORT, _SHORT * _TIMES)]
    if as_bytes:
        texts = [text.encode("latin-1", "replace") for text in texts]
    short = _seconds(call, texts[0])
    if short > 50 * _SLOWEST:
        return True
    if _seconds(call, texts[1]) < _SLOWEST:
        return False

    def is_slow() -> bool:
        short, long = (min(_seconds(call, text) for _ in range(3)) for text in texts)
        return long > 3 * _TIMES * max(short, _SLOWEST / _TIMES)

    return all(is_slow() for _ in range(3))  # a busy machine is slow once, a bad pattern always


@pytest.mark.parametrize("pattern", [r"^\s*a", r"\bsk-(?=[a-z_-]*[0-9])[a-z]{20}"])
def test_a_pattern_that_grows_faster_is_seen(pattern: str) -> None:
    assert next(_slow(re.compile(pattern, re.MULTILINE)), None) is not None


def test_every_pattern_takes_time_as_its_text_is_long() -> None:
    patterns = dict(_patterns())
    assert {
        "aar.scoring.results.verdict_messages._CONTROL",
        "aar.forum.markdown._IMAGE",
        "aar.readmodels.transcript._TOLD",
    } <= patterns.keys()
    assert len(patterns) > 40
    slow = [(name, head, unit) for name, pattern in patterns.items() for head, unit in _slow(pattern)]
    assert slow == []


def _slow(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    as_bytes = isinstance(pattern.pattern, bytes)
    put: Any = b"" if as_bytes else ""
    units = _units(pattern)
    for unit in sorted(units):
        for head in ("", max(units, key=len)):
            if _grows_faster(lambda text: pattern.sub(put, text), unit, head, as_bytes=as_bytes):
                yield head, unit


@pytest.mark.parametrize(
    "unit",
    [
        *("/", "x", "a/b", "/a/b", "/a/b/", "/a/bc", "\x1b[", "\x1b[0", " ", "\n", "=", "sk-", "sk-a", "aar_", "AIza"),
        *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "Bearer ", "![", "![a](", "![[a]", "[", "*_", "`", "|a"),
        *('![]("', "[a]: b\n"),
    ],
)
def test_texts_that_were_made_to_be_slow_are_not(unit: str) -> None:
    hosts, limits = [Path("/a/b"), Path("/srv/x/a/b")], RunLimits(seconds=1, memory_bytes=1)
    for call in (
        lambda text: remove_host_paths(text, hosts),
        lambda text: output_rejected_message(text, hosts),
        lambda text: failure_message(ExecResult(ExitReason.EXITED, 1, text, 0, 1.0), limits, hosts),
        Scrubber(["a-secret-of-the-test"]).text,
        lambda text: Document(text).image_paths,
        lambda text: replace_image_addresses(text, {"a": "b"}),
        lambda text: Document(text).tokens,
        lambda text: Document(text).html({}),
    ):
        assert not _grows_faster(call, unit)


def test_a_text_of_brackets_is_parsed_soon() -> None:
    for unit in ("![", "[", "![[a]"):
        assert _seconds(lambda text: Document(text).tokens, unit * (20_000 // len(unit))) < 0.5
    assert _seconds(lambda text: Document(text).image_paths, "![" * 10_000) < 0.1
