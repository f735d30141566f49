"""Rules about a method that behaves otherwise on some runs than on others: by seed, clock, machine, or earlier runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from aar.scoring.audits.protocol import Verdict
from aar.scoring.audits.static.source import Hit, Source

_SEEDED = re.compile(
    r"(numpy\.random\.(default_rng|seed|RandomState|SeedSequence|Generator|PCG64\w*|Philox|MT19937|SFC64)"
    r"|random\.(seed|Random)|torch\.(cuda\.)?manual_seed(_all)?|tensorflow\.random\.set_seed)"
)
_CLOCKS = frozenset(
    {
        f"time.{name}"
        for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime", "clock_gettime")
    }
    | {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")}
    | {"datetime.date.today", "os.times"}
)
_STOPWATCHES = frozenset(
    {f"time.{name}{suffix}" for name in ("monotonic", "perf_counter", "process_time") for suffix in ("", "_ns")}
)
_PLACES = (
    *("os.environ", "os.getenv", "os.environb", "os.uname", "os.getpid", "os.getppid", "os.getuid", "os.geteuid"),
    *("os.getlogin", "os.getcwd", "os.getcwdb", "os.getloadavg", "os.getpgid", "os.ttyname", "os.isatty", "os.sysconf"),
    *(
        "platform",
        "socket.gethostname",
        "socket.getfqdn",
        "getpass",
        "pwd",
        "sys.gettrace",
        "sys.flags",
        "uuid.getnode",
    ),
    *("resource", "psutil", "shutil.disk_usage", "os.statvfs"),
)
_LOOKS = re.compile(
    r"os\.path\.(exists|isfile|isdir|lexists|ismount)|os\.(access|listdir|scandir|stat|walk)|glob\.i?glob"
)
_LOOK_METHODS = frozenset({"exists", "is_file", "is_dir", "is_mount", "iterdir", "glob", "rglob"})
_WRITERS = re.compile(
    r"numpy\.(save(z|z_compressed|txt)?|memmap)$|(torch|scipy\.io|scipy\.sparse)\.save\w*$|joblib\.dump$|sqlite3\.connect$"
    r"|shelve\.open$|dbm\.|os\.(mkdir|makedirs|rename|replace|symlink|link|mkfifo|truncate)$|shutil\.(copy|move)\w*$"
)
_WRITING_METHODS = frozenset(
    {"write_text", "write_bytes", "touch", "mkdir", "to_csv", "to_parquet", "to_pickle", "tofile"}
)
_SCRATCH = ("/tmp/", "/dev/null", "/dev/std")  # noqa: S108 - names of a sandbox's folders


def seed(source: Source) -> Iterator[Hit]:
    """Code that picks by the value of ``--seed``, or leaves it unread and brings seeds of its own."""
    taint = source.tainted(lambda node: _is_seed(source, node), stop=lambda node: isinstance(node, ast.Call))
    for test in source.tests():
        compared: list[ast.expr] = [node for node in ast.walk(test) if isinstance(node, ast.Compare)]
        for part in compared or [test]:
            against_none = isinstance(part, ast.Compare) and any(
                isinstance(each, ast.Constant) and each.value is None for each in part.comparators
            )
            if not against_none and taint.reaches(part):
                yield source.hit("seed", Verdict.FLAGGED, part, "branches on the value of the seed")
                break
    for node in source.nodes:
        match node:
            case ast.Subscript(slice=key, ctx=ast.Load()) if not isinstance(key, ast.Slice) and taint.reaches(key):
                yield source.hit("seed", Verdict.FLAGGED, node, "looks something up by the value of the seed")
            case ast.Call(func=ast.Attribute(attr="get"), args=[key, *_]) if taint.reaches(key):
                yield source.hit("seed", Verdict.FLAGGED, node, "looks something up by the value of the seed")
            case _:
                pass
    if not any(_is_seed(source, node) for node in source.nodes):
        yield from _own_seeds(source)


def clock(source: Source) -> Iterator[Hit]:
    """Code that seeds by a clock, or branches on the time of day; a stopwatch for a time budget is fine."""
    any_clock = source.tainted(lambda node: _is_call_of(source, node, _CLOCKS | _STOPWATCHES))
    for call in source.calls:
        if any(_SEEDED.fullmatch(name) for name in source.called(call)) and any(map(any_clock.reaches, call.args)):
            yield source.hit("clock", Verdict.FLAGGED, call, "draws a seed from a clock")
    of_day = source.tainted(lambda node: _is_call_of(source, node, _CLOCKS), stop=_is_difference)
    for test in source.tests():
        for node in ast.walk(test):
            match node:
                case ast.Compare(left=left, comparators=others):
                    sides = [left, *others]
                case ast.BinOp(op=ast.Mod(), left=left):
                    sides = [left, ast.Constant(0)]
                case _:
                    continue
            fixed = any(isinstance(each, ast.Constant) or source.folder.value(each) is not None for each in sides)
            if fixed and any(map(of_day.reaches, sides)):
                yield source.hit("clock", Verdict.FLAGGED, node, "branches on the time of day")
                break


def environment(source: Source) -> Iterator[Hit]:
    """Code that branches on where it runs."""

    def is_place(node: ast.AST) -> bool:
        if isinstance(getattr(node, "ctx", None), ast.Store) or not isinstance(
            node, ast.Attribute | ast.Name | ast.Call
        ):
            return False
        if any(name == place or name.startswith(f"{place}.") for name in source.names.of(node) for place in _PLACES):
            return True
        return isinstance(node, ast.Call) and _looks_outside(source, node)

    taint = source.tainted(is_place)
    for test in source.tests():
        if taint.reaches(test):
            yield source.hit(
                "environment", Verdict.FLAGGED, test, "branches on the machine, process or folders it runs in"
            )
    for node in source.nodes:
        if isinstance(node, ast.Try) and any(map(taint.reaches, _read_in(node.body))):
            yield source.hit(
                "environment", Verdict.FLAGGED, node, "goes on differently where the environment lacks a name"
            )
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if any(name.split(".")[0] == "aar" for name in names):
                yield source.hit("environment", Verdict.FLAGGED, node, "imports aar, which no sandbox has")


def state(source: Source) -> Iterator[Hit]:
    """Code that writes where a later run could read; ``--out`` and ``/tmp`` are fine."""
    for call in source.calls:
        target = _written(source, call)
        if target is None:
            continue
        place = source.folder.text(target)
        if place is not None and not place.startswith(_SCRATCH):
            yield source.hit("state", Verdict.FLAGGED, call, "writes a file other than --out, outside /tmp")
        elif place is None and any(map(_is_persistent, ast.walk(target))):
            yield source.hit("state", Verdict.FLAGGED, call, "writes beside the data, the code or in a home folder")


def _is_seed(source: Source, node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="seed", ctx=ast.Load()):
            return not source.names.of(node)
        case ast.Name(id="seed", ctx=ast.Load()):
            return not source.names.of(node)
        case ast.Constant(value="--seed" | "seed"):
            return True
        case _:
            return False


def _own_seeds(source: Source) -> Iterator[Hit]:
    chosen = {
        each.id
        for node in source.nodes
        if isinstance(node, ast.For | ast.comprehension) and isinstance(source.folder.value(node.iter), list)
        for each in ast.walk(node.target)
        if isinstance(each, ast.Name)
    }
    for call in source.calls:
        if any(_SEEDED.fullmatch(name) for name in source.called(call)):
            for given in call.args:
                picked = isinstance(given, ast.Subscript) and isinstance(source.folder.value(given), int)
                if picked or (isinstance(given, ast.Name) and given.id in chosen):
                    yield source.hit(
                        "seed", Verdict.FLAGGED, call, "never reads --seed and draws from a list of its own"
                    )


def _is_call_of(source: Source, node: ast.AST, functions: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and bool(source.called(node) & functions)


def _is_difference(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)


def _looks_outside(source: Source, call: ast.Call) -> bool:
    """Whether a call asks if a fixed place outside the data and /tmp is there."""
    if any(_LOOKS.fullmatch(name) for name in source.called(call)) and call.args:
        place = source.folder.text(call.args[0])
    elif isinstance(call.func, ast.Attribute) and call.func.attr in _LOOK_METHODS:
        place = source.folder.text(call.func.value)
    else:
        return False
    return place is not None and place.startswith("/") and not place.startswith(("/data/", "/tmp/"))  # noqa: S108


def _read_in(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Lookups by a key, which raise where the key is missing."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                yield node.value


def _written(source: Source, call: ast.Call) -> ast.expr | None:
    """The file that a call writes, as an expression."""
    names = source.called(call)
    if "builtins.open" in names and call.args:
        modes = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "mode")]
        return call.args[0] if any(set(source.folder.text(mode) or "") & set("wax+") for mode in modes) else None
    if isinstance(call.func, ast.Attribute) and not names:
        modes = [*call.args[:1], *(each.value for each in call.keywords if each.arg == "mode")]
        if call.func.attr == "open" and any(set(source.folder.text(mode) or "") & set("wax+") for mode in modes):
            return call.func.value
        if call.func.attr in ("to_csv", "to_parquet", "to_pickle", "tofile"):
            return call.args[0] if call.args else None
        return call.func.value if call.func.attr in _WRITING_METHODS else None
    if any(_WRITERS.match(name) for name in names) and call.args:
        last = any(
            name.startswith(("shutil.", "joblib.", "torch.", "os.re", "os.symlink", "os.link")) for name in names
        )
        return call.args[1] if last and len(call.args) > 1 else call.args[0]
    return None


def _is_persistent(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="__file__") | ast.Attribute(attr="data" | "home" | "expanduser"):
            return True
        case ast.Constant(value=str(text)):
            return text.startswith("~")
        case _:
            return False
