"""Names can be searched for: no two public classes share one, and neighbours differ by more than a letter."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MODULES = sorted(path for path in (REPOSITORY / "aar").rglob("*.py") if path.parent.name != "versions")
"""Without the migrations, which are named for what they did."""
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BANNED = frozenset(
    (
        "anew",
        "asked",
        "crew",
        "doorman",
        "exhibit",
        "given",
        "heard",
        "heed",
        "hear",
        "house",
        "keep",
        "kept",
        "look",
        "nobody",
        "room",
        "said",
        "say",
        "spoilt",
        "tell",
        "telling",
        "told",
        "whoever",
        "wish",
        "wishes",
    )
)
"""Words of speech and household that say nothing about what a function does; docs/glossary.md has the terms."""


def _public(tree: ast.Module, *kinds: type[ast.stmt]) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in tree.body
        if isinstance(node, kinds)
        and isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    ]


def _words(name: str) -> set[str]:
    return {
        word.lower()
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", re.sub("look_up|[Cc]lean_?[Rr]oom", "", name))
    }


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in _public(ast.parse(path.read_text(encoding="utf-8")), ast.ClassDef):
            homes[node.name].append(str(path.relative_to(REPOSITORY)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_neighbours_differ_by_more_than_a_letter() -> None:
    """``call`` beside ``calls`` makes a reader open both."""
    alike = []
    for folder in {path.parent for path in MODULES}:
        names = sorted(path.stem for path in folder.glob("*.py"))
        names += sorted(path.name for path in folder.iterdir() if (path / "__init__.py").is_file())
        alike += [f"{folder.relative_to(REPOSITORY)}: {a}, {b}" for a, b in combinations(names, 2) if _one_apart(a, b)]
    assert alike == []


def _one_apart(first: str, second: str) -> bool:
    short, long = sorted((first, second), key=len)
    if len(short) < 4:  # app and api are standard words
        return False
    if len(long) - len(short) > 1:
        return False
    if len(long) == len(short):
        return sum(a != b for a, b in zip(short, long, strict=True)) == 1
    return any(long[:cut] + long[cut + 1 :] == short for cut in range(len(long)))


def test_public_names_use_no_banned_word() -> None:
    bad = []
    for path in MODULES:
        bad += [f"module {path.relative_to(REPOSITORY)}" for _ in _words(path.stem) & BANNED]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in _public(tree, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef):
            bad += [f"{path.relative_to(REPOSITORY)}: {node.name}" for _ in _words(node.name) & BANNED]
            methods = node.body if isinstance(node, ast.ClassDef) else []
            bad += [
                f"{path.relative_to(REPOSITORY)}: {node.name}.{method.name}"
                for method in methods
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not method.name.startswith("_")
                for _ in _words(method.name) & BANNED
            ]
    assert bad == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(
        re.findall(r"`((?:aar|tests|benchmarks|scripts|docs|findings|research_seeds|sandbox_images)/[\w./-]*)`", text)
    )
    named |= {name.replace(".", "/") for name in re.findall(r"`(aar(?:\.[a-z_]+)+)`", text)}
    named -= {"aar/audits"}  # the entry points of a user's own audits
    missing = [
        name
        for name in sorted(named)
        if not any((REPOSITORY / f"{name.rstrip('/')}{end}").exists() for end in ("", ".py"))
        and not (REPOSITORY / name).parent.with_suffix(".py").is_file()
    ]
    assert missing == []
