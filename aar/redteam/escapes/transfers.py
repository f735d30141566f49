"""Attempts through file transfers from and to a hostile sandbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aar.errors import TransferRefused
from aar.redteam.escapes.escape_arena import CANARY_FILE, EscapeArena
from aar.sandbox.protocol import Sandbox


async def _links(place: EscapeArena, box: Sandbox, target: Path) -> str:
    await box.exec(
        f"mkdir d; ln -s {place.folder}/hidden/{CANARY_FILE} d/a; ln -s /etc d/b; ln -s ../../.. d/c", timeout=20
    )
    for path in ("d", "d/b"):
        try:
            await box.get(path, target / path.replace("/", "-"))
        except TransferRefused:
            continue
        return f"GOT THROUGH: {path} came out"
    return ""


async def _dots(place: EscapeArena, box: Sandbox, target: Path) -> str:
    source = place.folder / "dots"
    source.mkdir(exist_ok=True)
    (source / "planted").write_text("x")
    for path in ("../../../../../../tmp/../..", f"../../..{place.folder}", "/etc", "/opt/aar/server"):
        try:
            await box.put(source, path)
        except (OSError, TransferRefused):
            continue
    planted = [p for p in (place.folder / "planted", Path("/planted"), Path("/etc/planted")) if p.exists()]
    return f"GOT THROUGH: {planted}" if planted else ""


async def _swap(place: EscapeArena, box: Sandbox, target: Path) -> str:
    """Swap a directory for a link to everything while it is copied out."""
    await box.exec("mkdir -p s/real other; for i in $(seq 200); do echo x > s/real/$i; done", timeout=20)
    job = await box.start_job(
        "while true; do mv s/real s/x; ln -s / s/real; rm s/real; mv s/x s/real; done 2>/dev/null", timeout=30
    )
    for number in range(5):
        try:
            await box.get("s", target / str(number))
        except (OSError, TransferRefused):
            continue
    await box.stop_job(job.job_id)
    strange = [p for p in _all_below(target) if p.is_symlink() or (p.is_file() and p.read_text() not in ("x\n", ""))]
    return f"GOT THROUGH: {strange[:3]}" if strange else ""


async def _bombs(place: EscapeArena, box: Sandbox, target: Path) -> str:
    """Copy out archives and sparse giants.

    Archives are never unpacked on the host; sparse giants are refused by their size.
    """
    await box.exec(
        "mkdir z; python3 -c \"import zipfile; zipfile.ZipFile('z/b.zip', 'w', 8).writestr('x', bytes(10**8))\"; "
        "cd z; truncate -s 15M hole; tar cf b.tar --transform 's,hole,../../../evil,' hole 2>/dev/null; rm hole",
        timeout=60,
    )
    await box.get("z", target / "z")
    size = sum(p.stat().st_size for p in _all_below(target) if p.is_file())
    if size > 32 * 1024**2 or (target.parent / "evil").exists():
        return f"GOT THROUGH: {size} bytes"
    await box.exec("mkdir big; truncate -s 20M big/a; truncate -s 20M big/b; truncate -s 20M big/c", timeout=20)
    try:
        await box.get("big", target / "big", limit=50 * 1024**2)
    except TransferRefused:
        return ""
    return "GOT THROUGH: a giant came out"


async def _specials(place: EscapeArena, box: Sandbox, target: Path) -> str:
    await box.exec("mkdir p; mkfifo p/pipe; python3 -c \"import socket; socket.socket(1).bind('p/sock')\"", timeout=20)
    for path in ("p/pipe", "/dev/zero", "/dev/tty", "/proc/1/mem"):
        try:
            data = await box.read(path, limit=1000)
        except (OSError, TransferRefused):
            continue
        if data:
            return f"GOT THROUGH: {path}"
    try:
        await box.get("p", target)
    except TransferRefused:
        return ""
    return "GOT THROUGH: a special file came out"


async def _names(place: EscapeArena, box: Sandbox, target: Path) -> str:
    """Copy files whose names mean something to a shell, terminal or parser."""
    script = (
        "import os\nos.makedirs(b'n')\n"
        "for name in (b'\\xff\\xfe', b'a\\nb', b'-rf', b'\\x1b[31m', b'$(touch x)', b'...', b'x' * 255):\n"
        "    open(b'n/' + name, 'w').close()\n"
    )
    await box.exec(["python3", "-c", script], timeout=20)
    try:
        await box.get("n", target)
    except (OSError, TransferRefused):
        return ""
    outside = [p for p in _all_below(target) if p.is_symlink() or ".." in p.parts]
    return f"GOT THROUGH: {outside}" if outside else ""


def _all_below(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


TRANSFER_ESCAPES: dict[str, tuple[str, Callable[[EscapeArena, Sandbox, Path], Awaitable[str]]]] = {
    "links-out": ("have links followed on the host", _links),
    "dots-in": ("have put write outside the sandbox", _dots),
    "swapped-directory": ("swap a directory for a link while it is copied", _swap),
    "archive-bombs": ("have the host unpack a zip or tar bomb, or copy a sparse giant", _bombs),
    "special-files": ("have the host read pipes, sockets and devices", _specials),
    "hostile-names": ("break out through file names", _names),
}
"""Attempts by file transfer: name -> goal, and a function that returns the breaches."""
