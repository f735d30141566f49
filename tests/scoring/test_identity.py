"""What counts as the same code, on programs of our own, on every baseline, and on drawn methods."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aar.problems.registry import find
from aar.problems.repertoire import HasRepertoire
from aar.scoring.identity import code_identity

_PROGRAM = '''
"""A program with most of what Python can bind."""
import argparse
import json
import numpy as np
from os import path as place
from collections import Counter

LIMIT = 1_000
shared = []


class Box:
    size: int = 3

    def __init__(self, width, height=2):
        self.width = width
        self.total = width * height

    def area(self, scale=1.0):
        inner = self.width * scale
        return inner + self.total


def fold(values, start=0, *rest, **named):
    """Add up."""
    global shared
    total: float = start
    for index, value in enumerate(values):
        total += value * index
        shared.append(total)

    def helper(extra):
        nonlocal total
        total = total - extra
        return [extra + value for value in values if value != extra]

    try:
        found = helper(2)
    except (ValueError, KeyError) as error:
        found = [str(error)]
    with open("/tmp/x") as stream:
        text = stream.read()
    match found:
        case [first, *others]:
            start = first
        case {"a": one, **more}:
            start = one
        case _:
            pass
    if (size := len(text)) > 3:
        total -= size
    pairs = {key: count for key, count in Counter(found).items()}
    square = lambda left, right=3: left * right + LIMIT
    return total, found, pairs, square(2), sum(row for line in rest for row in line)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    args = parser.parse_args()
    box = Box(3)
    with open(place.join(args.data, "x.json")) as stream:
        items = json.load(stream)
    print(f"{box.area():.3f}", fold(np.asarray(items) ** 2, 1, *[[1]]), -1 if items else +1)


if __name__ == "__main__":
    main()
'''


def identity(folder: Path, source: str | bytes, **others: str | bytes) -> str:
    """Of a method with this ``run.py``; ``others`` are files by name, a dot written as ``__``."""
    directory = folder / f"method-{next(_numbers)}"
    for name, content in {"run__py": source, **others}.items():
        path = directory / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return code_identity(directory)


_numbers = itertools.count()


def programs() -> list[str]:
    """Ours, the shipped baselines, and some drawn ones."""
    found = [_PROGRAM]
    for name in ("toy", "weak_to_strong"):
        found += [(baseline.directory / "run.py").read_text() for baseline in find(name).baselines()]
        found += drawn(name, 5)
    return found


def drawn(name: str, count: int) -> list[str]:
    """Different ``run.py`` that an offline researcher might hand in."""
    problem, rng, found = find(name), Random(7), dict[str, None]()
    assert isinstance(problem, HasRepertoire)
    repertoire = problem.repertoire()
    for _ in range(20 * count):
        if len(found) < count:
            found[repertoire.render(repertoire.sample(rng, ""), parent=None)["run.py"]] = None
    return list(found)


_PROGRAMS = programs()
_any_program = st.sampled_from(_PROGRAMS)
_quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Rename(ast.NodeTransformer):
    """Gives every variable of a file another name, file-wide, but for those that more than spelling hangs on."""

    def __init__(self, tree: ast.Module, rng: Random) -> None:
        kept = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
        bound = set[str]()
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                kept |= {each.name for each in node.body if isinstance(each, ast.FunctionDef)} | {"size"}
                for each in node.body:
                    if isinstance(each, ast.FunctionDef):
                        kept |= {argument.arg for argument in each.args.args}
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound.add(node.name)
            if isinstance(node, ast.arg):
                bound.add(node.arg)
            if isinstance(node, ast.alias):
                bound.add(node.asname or node.name)
        order = sorted(bound - kept)
        rng.shuffle(order)
        self.names = {name: f"{rng.choice('abcxyz')}{index}_{rng.randrange(99)}" for index, name in enumerate(order)}

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("id", "arg", "name", "rest"):
            value = getattr(node, field, None)
            if isinstance(value, str) and not isinstance(node, ast.keyword | ast.alias):
                setattr(node, field, self.names.get(value, value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self.names.get(name, name) for name in node.names]
        if isinstance(node, ast.alias) and (node.asname or node.name) in self.names:
            node.asname = self.names[node.asname or node.name]
        return node


@_quick
@given(_any_program, st.randoms(use_true_random=False))
def test_names_of_variables_do_not_count(tmp_path: Path, source: str, rng: Random) -> None:
    tree = ast.parse(source)
    renamed = ast.unparse(ast.fix_missing_locations(Rename(tree, rng).visit(tree)))
    assert renamed != ast.unparse(ast.parse(source))
    assert identity(tmp_path, renamed) == identity(tmp_path, source)


@_quick
@given(_any_program, st.lists(st.tuples(st.integers(0, 500), st.text(max_size=20)), max_size=12))
def test_comments_blank_lines_and_layout_do_not_count(
    tmp_path: Path, source: str, remarks: list[tuple[int, str]]
) -> None:
    lines = ast.unparse(ast.parse(source)).splitlines()  # one statement a line: a comment fits between any two
    inside = {line for node in ast.walk(ast.parse("\n".join(lines))) for line in _text_lines(node)}
    for place, words in sorted(remarks, reverse=True):
        place %= len(lines)
        if place not in inside:
            lines.insert(place, "  # " + re.sub(r"[^\w ]", "", words) + "\n\n")
    assert identity(tmp_path, "\n".join(lines)) == identity(tmp_path, source)


def _text_lines(node: ast.AST) -> set[int]:
    several = isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno
    return set(range(node.lineno, node.end_lineno or 0)) if several else set()  # type: ignore[attr-defined]


def _mutations(tree: ast.Module) -> list[ast.AST]:
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    whole = (ast.Constant, ast.BinOp, ast.Attribute, ast.Compare)
    return [node for node in ast.walk(tree) if isinstance(node, whole) and id(node) not in prose]


@_quick
@given(_any_program, st.integers(0, 10**6))
def test_a_changed_constant_operator_or_function_counts(tmp_path: Path, source: str, which: int) -> None:
    tree = ast.parse(source)
    nodes = _mutations(tree)
    node = nodes[which % len(nodes)]
    match node:
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1
        case ast.Constant(value=str(value)):
            node.value = value + "x"
        case ast.Constant():
            node.value = 17
        case ast.BinOp(op=op):
            node.op = ast.FloorDiv() if not isinstance(op, ast.FloorDiv) else ast.Mod()
        case ast.Compare(ops=ops):
            node.ops = [ast.Gt() if not isinstance(each, ast.Gt) else ast.LtE() for each in ops]
        case ast.Attribute(attr=attr):
            node.attr = f"{attr}_other"
    assert identity(tmp_path, ast.unparse(tree)) != identity(tmp_path, source)


_SAME = [
    ("x = 1.0", "x = 1.00"),
    ("x = 'a'", 'x = "a"'),
    ("x = 1000", "x = 1_000"),
    ("x = 255", "x = 0xff"),
    ("def f(a: int) -> str:\n return a", "def f(b):\n  'Say.'\n  return b"),
    ("def f():\n x: int = 1\n return x", "def f():\n y = 1\n pass\n return y"),
    ("import numpy\nnumpy.mean(1)", "import numpy as np\nnp.mean(1)"),
    ("from os import sep\nprint(sep)", "from os import sep as s\nprint(s)"),
    ("def f(x):\n return x\ndef g(x):\n return x", "def f(x):\n return x\ndef g(y):\n return y"),
    ("from __future__ import annotations\nx = 1", "x = 1"),
    ("print([x for x in [1]])", "print([y for y in [1]])"),
    ("lambda x: x + 1", "lambda y: y + 1"),
    ("'Say.'\nx = 1\nprint(__doc__)", "'Say.'  # twice\n\ny = 1\nprint(__doc__)"),
]


@pytest.mark.parametrize(("one", "other"), _SAME)
def test_these_are_the_same(tmp_path: Path, one: str, other: str) -> None:
    assert identity(tmp_path, one) == identity(tmp_path, other)


_DIFFERENT = [
    ("x = 1", "x = 1.0"),
    ("x = True", "x = 1"),
    ("x = 'a'", "x = b'a'"),
    ("a, b = 1, 2\nprint(a - b)", "a, b = 1, 2\nprint(b - a)"),
    ("def f(a, b):\n return a - b\nf(a=1, b=2)", "def f(b, a):\n return b - a\nf(a=1, b=2)"),
    ("def g(alpha): pass\nlib(alpha=1)", "def g(beta): pass\nlib(beta=1)"),
    ("print(max)\nmax = 3", "print(min)\nmin = 3"),
    ("x = 1\nclass A:\n x = x", "z = 1\nclass A:\n x = x"),
    ("class A:\n x = 1\n def f(self): return self.x", "class A:\n y = 1\n def f(self): return self.x"),
    ("class A:\n x: int", "class A:\n pass"),
    ("a = 1\nprint(locals()['a'])", "b = 1\nprint(locals()['a'])"),
    ("from m import *\nprint(x)\nx = 1", "from m import *\nprint(y)\ny = 1"),
    ("import os.path as p\np", "import os.path\nos"),
    ("def f():\n global x\n x = 1\nx = 0", "def f():\n x = 1\nx = 0"),
    ("def f(*a): pass", "def f(**a): pass"),
    ("def f(a, /): pass", "def f(a): pass"),
    ("def f():\n x = 1\n def g():\n  nonlocal x\n  x = 2", "def f():\n x = 1\n def g():\n  x = 2"),
    ("'a table'\nprint(__doc__)", "'another'\nprint(__doc__)"),
    ("# 1\nprint(open(__file__).read())", "# 2\nprint(open(__file__).read())"),
    ("# 1\nprint(open('/method/run.py').read())", "# 2\nprint(open('/method/run.py').read())"),
    ("x = 1\nif x:\n print(1)\nprint(2)", "x = 1\nif x:\n print(1)\n print(2)"),
    ("x = 0x" + "f" * 9000, "x = 0x" + "e" * 9000),
]


@pytest.mark.parametrize(("one", "other"), _DIFFERENT)
def test_these_are_not(tmp_path: Path, one: str, other: str) -> None:
    assert identity(tmp_path, one) != identity(tmp_path, other)


def test_claim_and_prose_do_not_count_unless_the_code_reads_them(tmp_path: Path) -> None:
    first = identity(tmp_path, "x = 1", method__yaml="title: a", README__md="a")
    assert identity(tmp_path, "x = 1", method__yaml="title: b") == first
    reads = "print(open('/method/README.md').read())"
    assert identity(tmp_path, reads, README__md="a") != identity(tmp_path, reads, README__md="b")


def test_other_files_count_by_their_bytes_and_their_place(tmp_path: Path) -> None:
    found = {
        identity(tmp_path, "x = 1"),
        identity(tmp_path, "x = 1", data__npy=b"\0\1"),
        identity(tmp_path, "x = 1", data__npy=b"\0\2"),
        identity(tmp_path, "x = 1", other__npy=b"\0\2"),
    }
    assert len(found) == 4
    cached = tmp_path / "method-cached" / "__pycache__"
    cached.mkdir(parents=True)
    (cached / "run.cpython-311.pyc").write_bytes(b"x")
    (cached.parent / "run.py").write_text("x = 1")
    assert code_identity(cached.parent) == identity(tmp_path, "x = 1")


def test_a_module_keeps_the_names_that_others_use(tmp_path: Path) -> None:
    run = "from helper import fit\nprint(fit())"
    first = identity(tmp_path, run, helper__py="def fit(): return cut()\ndef cut(): return 1")
    assert identity(tmp_path, run, helper__py="def fit(): return 1\ndef cut(): return cut()") != first
    assert identity(tmp_path, run, helper__py="def cut(): return fit()\ndef fit(): return 1") != first
    inner = "def fit():\n    {0} = 2\n    return {0}\n"
    assert identity(tmp_path, run, helper__py=inner.format("a")) == identity(
        tmp_path, run, helper__py=inner.format("b")
    )


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:\n    x\n",
        b"\x00\x01",
        b"x = '" + b"\\d" * 10 + b"'\n",
        b"(" * 5000,
        b"x = " + b"-" * 20_000 + b"1",
        b"x = " + b"1+" * 3000 + b"1",
        b"x = 1\n" * 200_000,
        "x = '\ud800'".encode("utf-8", "surrogatepass"),
        b"# coding: nonsense\nx = 1",
    ],
    ids=["no Python", "bytes", "odd escapes", "brackets", "signs", "a long sum", "a long file", "lone half", "coding"],
)
def test_odd_files_have_an_identity(tmp_path: Path, source: bytes) -> None:
    assert identity(tmp_path, source) == identity(tmp_path, source)
    assert identity(tmp_path, source) != identity(tmp_path, source + b"\ny = 3\n")


def test_a_file_that_does_not_parse_counts_by_its_lines(tmp_path: Path) -> None:
    assert identity(tmp_path, "def f(:\n  x\n") == identity(tmp_path, "def f(:   \n\n  x\n\n")


def test_links_are_not_followed(tmp_path: Path) -> None:
    found = set()
    for target in ("/etc/passwd", "/etc/hostname", str(tmp_path)):
        method = tmp_path / f"linked-{len(found)}"
        method.mkdir()
        (method / "data").symlink_to(target)
        (method / "run.py").symlink_to(target)
        found.add(code_identity(method))
    assert len(found) == 3


@pytest.mark.parametrize("name", ["toy", "weak_to_strong"])
def test_different_methods_differ(tmp_path: Path, name: str) -> None:
    sources = [(baseline.directory / "run.py").read_text() for baseline in find(name).baselines()]
    sources += drawn(name, 100)
    found: dict[str, str] = {}
    for source in sources:
        tree = ast.parse(source)
        code = ast.unparse(ast.Module(tree.body[1:] if ast.get_docstring(tree) else tree.body, []))
        code = re.sub(r'^( *)""".*"""\n', "", code, flags=re.MULTILINE)  # docstrings of functions
        assert found.setdefault(identity(tmp_path, source), code) == code
    assert len(found) > (20 if name == "toy" else 90)
