"""What a person should look at, by the rule that finds it; all of it flags and nothing is taken away."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import marshal
import py_compile
import tarfile
import time
import zipfile
from pathlib import Path
from random import Random

import pytest

from aar.problems.registry import find_problem
from aar.scoring.audits import static_audit
from aar.scoring.audits.protocol import AuditInput, AuditVerdict
from aar.scoring.audits.static_audit import StaticAudit, audit_result, check_code

CHEATS: dict[str, list[str]] = {
    "network": [
        "import socket\ns = socket.create_connection(('10.0.0.1', 80))",
        "from socket import socket as box\nbox().connect(('10.0.0.1', 80))",
        "from socket import *",
        "__import__('socket').socket()",
        "from importlib import import_module\nimport_module('urllib.request').urlopen('x')",
        "import http.client\nhttp.client.HTTPConnection('h')",
        "from http import client",
        "from urllib import request",
        "from multiprocessing.connection import Client",
        "try:\n    import requests\nexcept ImportError:\n    requests = None",
    ],
    "process": [
        "import subprocess as s\ns.run(['ls'])",
        "from os import system\nsystem('ls')",
        "import os\nif os.fork():\n    pass",
        "import os as o\no.execv('x', [])",
        "import ctypes\nctypes.CDLL(None)",
        "import posix\nposix.system('ls')",
        "import sys\nsys.settrace(None)",
    ],
    "path": [
        "print(open('/proc/self/environ').read())",
        "print(open('/proc/meminfo').read())",
        "open(f'/proc/{input()}/environ')",
        "open('/proc/' + input())",
        "open('//sys/fs')",
        "from pathlib import Path\nPath('/proc').joinpath('1')",
        "import os, sys\nos.path.join(sys.argv[2], '/etc/hostname')",
        "open('/campaigns/bundles/3/hidden/labels.npy')",
        "open('/data/movie/hidden/labels.npy')",
        "open('../hidden/labels.npy')",
        "open('/etc/hostname')",
        "open('../other.txt')",
        "import os, sys\nos.listdir(os.path.join(sys.argv[2], '..'))",
        "import sys\nopen(sys.argv[2] + '/../x')",
        "import sys\nopen(f'{sys.argv[2]}/../x')",
    ],
    "table": [
        f"ANSWERS = {list(range(5000))}",
        f"WEIGHTS = {[each / 7 for each in range(192)]}",
        "ANSWERS = {" + ", ".join(f"'item {index}': {index % 2}" for index in range(300)) + "}",
        f"BITS = {'01' * 500!r}",
        f"BITS = {bytes(range(128, 256)) * 8!r}",
        "BITS = 0x" + "f7" * 600,
        f"import numpy as np\nW = np.array('{' '.join(str(each) for each in range(1000, 1200))}'.split())",
        "\n".join(f"T{index} = {list(range(20))}" for index in range(10)),
        f"import zlib\nBITS = zlib.decompress({Random(1).randbytes(600)!r})",
        "PROSE = '" + "a word and another one " * 1000 + "'",
    ],
    "hidden_code": [
        "exec(input())",
        "code = compile('x', 'x', 'exec')",
        "eval(open('x').read())",
        "__import__(input())",
        "import importlib\nimportlib.import_module(input())",
        "import pickle\npickle.load(open('x', 'rb'))",
        "import numpy as np\nnp.load('/data/x.npy', allow_pickle=True)",
        "import sys\nsys.path.insert(0, 'calibration.bin')\nimport warmup",
        "from sys import path\npath.append('x')",
        "import sys as s\ns.meta_path.append(None)",
        "import importlib.util\nimportlib.util.spec_from_file_location('x', 'y')",
    ],
    "unreadable": ["def f(:\n", "x = " + "1 + " * 100_000 + "1", "x = 1\n" * 300_000, "a=b.c\n" * 30_000, "\0"],
}


@pytest.mark.parametrize(
    ("rule", "source"),
    [(rule, source) for rule, cheats in CHEATS.items() for source in cheats],
    ids=[f"{rule}-{index}" for rule, cheats in CHEATS.items() for index, _ in enumerate(cheats)],
)
def test_a_cheat_is_flagged_by_its_rule(tmp_path: Path, rule: str, source: str) -> None:
    (tmp_path / "run.py").write_text(source)
    reading = check_code(tmp_path)
    assert f"static.{rule}" in {hit.rule for hit in reading.hits}
    answer = audit_result(reading)
    assert answer.verdict is AuditVerdict.FLAGGED
    assert answer.reason.startswith("run.py:")


def test_a_cheat_in_a_helper_is_found_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import inner.tools\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "tools.py").write_text("import os\n\n\nopen('/proc/1/environ')\n")
    answer = audit_result(check_code(tmp_path))
    assert (answer.verdict, answer.rule) == (AuditVerdict.FLAGGED, "static.path")
    assert answer.reason == "inner/tools.py:4: names a file of the kernel (/proc, /sys)"
    [hit] = answer.evidence["hits"]
    assert hit == {
        "rule": "static.path",
        "file": "inner/tools.py",
        "line": 4,
        "what": "names a file of the kernel (/proc, /sys)",
    }


def _zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("warmup.py", "x = 1\n")
    return packed.getvalue()


def _tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("warmup.py"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("calibration.bin", _zipped()),
        ("notes.txt", b"words for people\n" * 20 + _zipped()),
        ("helper.py", b"x = 1\n#" + _zipped()),
        ("weights", _tarred()),
        ("weights", gzip.compress(b"x", mtime=0)),
        ("weights", bz2.compress(b"x")),
        ("weights", lzma.compress(b"x")),
        ("fast.so", b"\x7fELF"),
        ("notes", b"\x7fELF"),
        ("other.pyc", None),
        ("tool", b"#!/bin/sh\nls\n"),
    ],
)
def test_archives_and_programs_are_known_by_their_content(tmp_path: Path, name: str, content: bytes | None) -> None:
    (tmp_path / "run.py").write_text("x = 1\n")
    if content is None:
        py_compile.compile(str(tmp_path / "run.py"), cfile=str(tmp_path / name))
    else:
        (tmp_path / name).write_bytes(content)
    assert (name, "static.hidden_code") in {(hit.file, hit.rule) for hit in check_code(tmp_path).hits}


def test_byte_code_that_is_never_laid_out_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("x = 1\n")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "run.cpython-311.pyc").write_bytes(marshal.dumps(compile("x = 1", "x", "exec")))
    assert check_code(tmp_path).hits == []


@pytest.mark.parametrize(
    ("content", "flagged"),
    [
        (b"some words\n" * 100, False),
        (b"some words\n" * 2_000, True),
        (b"\x93NUMPY" + bytes(300), False),
        (b"\x93NUMPY" + bytes(2_481), True),
    ],
)
def test_data_beside_the_code(tmp_path: Path, content: bytes, flagged: bool) -> None:
    (tmp_path / "run.py").write_text("import numpy as np\nprint(np.load('/method/answers.npy'))\n")
    (tmp_path / "answers.npy").write_bytes(content)
    assert [hit.rule for hit in check_code(tmp_path).hits] == (["static.table"] if flagged else [])


def test_only_so_much_code_is_read_and_the_rest_is_said_to_be_unread(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import z\nopen('/proc/1/environ')\n")
    for name in "abz":
        (tmp_path / f"{name}.py").write_text(f"# {'long ' * 17_500}\nopen('/etc/{name}')\n")
    found = {(hit.file, hit.rule) for hit in check_code(tmp_path).hits}
    assert {("run.py", "static.path"), ("a.py", "static.path"), ("b.py", "static.path")} <= found
    assert ("z.py", "static.unreadable") in found


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run.py").symlink_to("/etc/passwd")
    (tmp_path / "more").symlink_to("/usr/lib")
    assert check_code(tmp_path).hits == []


@pytest.mark.parametrize(
    "source",
    [
        ("q" + ".a" * 800 + "\n") * 200,
        ("x = " + "a + " * 500 + "'/etc/passwd'\n") * 100,
        "exec('a=b.c\\n'*16000)\n" * 2_000,
        "x = [" * 90 + "]" * 90 + "\n",
        "f(" + "g(" * 80 + "1" + ")" * 81 + "\n",
        "x = f'" + "{a}/b" * 5_000 + "'\n",
        "import " + ", ".join(f"m{index}" for index in range(20_000)),
        "x = '" + "/" * 390_000 + "!'\n",
        "x = '" + "../" * 1_300 + "'\n",
    ],
    ids=["attributes", "sums", "code in texts", "nested", "calls", "f-string", "imports", "slashes", "climbing"],
)
def test_no_code_takes_long_to_read(tmp_path: Path, source: str) -> None:
    (tmp_path / "run.py").write_text(source)
    begun = time.process_time()
    check_code(tmp_path)
    assert time.process_time() - begun < 10  # a second or two: none may grow faster than the file


@pytest.mark.anyio
async def test_what_cannot_be_read_within_its_limits_is_flagged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.py").write_text("x = 1\n" * 30_000)
    monkeypatch.setattr(static_audit, "READ_SECONDS", 0.001)
    answer = await StaticAudit().judge(
        AuditInput("k3v9qd", 3, "t", "c", "h", ("other",), tmp_path, find_problem("toy"))
    )
    assert (answer.verdict, answer.rule) == (AuditVerdict.FLAGGED, "static.unreadable")
    assert "within its limits (time)" in answer.reason


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        ("# a comment\ndef add(left, right):\n    return (left+right)\nprint(add(1, 2))\n", True),
        ('"""Adds."""\ndef f(a: int, b: int) -> int:\n    return a + b\nprint(f(1, 2))\n', True),
        ("def f(a, b):\n    return a - b\nprint(f(1, 2))\n", False),
        ("def f(a, b):\n    return b + a\nprint(f(1, 2))\n", False),
        ("def f(a, b):\n    return a + b\nprint(f(1, 3))\n", False),
        ("def f(a, b):\n    return a.b + b.a\nprint(f(1, 2))\n", False),
    ],
)
def test_the_shape_of_code_is_the_same_but_for_layout_and_names(tmp_path: Path, other: str, alike: bool) -> None:
    for name, text in (("one", "def f(a, b):\n    return a + b\nprint(f(1, 2))\n"), ("two", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.py").write_text(text)
        (tmp_path / name / "method.yaml").write_text(f"title: {name}\n")
    one, two = (check_code(tmp_path / name).shape for name in ("one", "two"))
    assert len(one) == 64
    assert (one == two) is alike
    (tmp_path / "one" / "words.txt").write_text("x")
    assert check_code(tmp_path / "one").shape != one


def test_code_that_cannot_be_read_has_no_shape(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def f(:\n")
    assert check_code(tmp_path).shape == ""
