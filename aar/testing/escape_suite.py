"""The escape suite: every attempt to break out of a sandbox, made against a backend, with a neighbour looking on.

As tests: subclass ``EscapeSuite`` and override ``make_backend``. As a table: ``attempt_all``.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aar.errors import SandboxGone, TransferRefused
from aar.sandbox.protocol import Mount, Sandbox, SandboxBackend, SandboxSpec
from aar.testing.escapes import ESCAPES, Escape

_ROOM = 24 * 1024**2
_CANARY_FILE = "hidden-labels-canary.npz"


@dataclass(slots=True)
class Arena:
    """An attacker, a neighbour, and a secret on the host that neither was given."""

    backend: SandboxBackend
    folder: Path
    secret: str = field(default_factory=lambda: f"canary-{uuid.uuid4().hex}")
    port: int = 0
    _box: Sandbox | None = None

    async def attacker(self) -> Sandbox:
        """The attacker's sandbox; a new one when the last is gone."""
        try:
            if self._box is not None and (await self._box.exec(["true"], timeout=20)).ok:
                return self._box
        except SandboxGone:
            self._box = None
        spec = self._spec("attacker")
        await self.backend.remove(spec.name)
        self._box = await self.backend.create(spec)
        return self._box

    def _spec(self, who: str) -> SandboxSpec:
        return SandboxSpec(
            name=f"{self.folder.name}-{who}"[-60:].lower().replace("_", "-").lstrip("-"),
            campaign_id=self.campaign,
            workspace=self.folder / who,
            mounts=[Mount(self.folder / "forum", "/forum")],
            memory_bytes=192 * 1024**2,
            max_processes=64,
            workspace_bytes=_ROOM,
            cpus=2.0,
        )

    @property
    def campaign(self) -> str:
        """Label of both sandboxes."""
        return f"arena-{self.secret[-8:]}"

    async def neighbour(self) -> Sandbox:
        """The neighbour's sandbox, with a secret of its own in its workspace."""
        box = await self.backend.create(self._spec("neighbour"))
        await box.write("secret.txt", self.secret.encode())
        return box

    def filled(self, script: str) -> str:
        """A script with the arena's own values."""
        values = {
            "SECRET_NAME": _CANARY_FILE,
            "SECRET_TEXT": self.secret,
            "SECRET_PATH": str(self.folder / "hidden" / _CANARY_FILE),
            "OTHER_WORKSPACE": str(self.folder / "neighbour"),
            "PORT": str(self.port),
            "HOST_ADDRESS": "127.0.0.2",
            "ROOM": str(_ROOM),
        }
        for name, value in values.items():
            script = script.replace(f"@{name}@", value)
        return script


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: what got through (empty when nothing did), and whether the neighbour noticed."""

    name: str
    goal: str
    got_through: str
    neighbour_fine: bool
    said: str


@asynccontextmanager
async def arena(backend: SandboxBackend, folder: Path) -> AsyncIterator[tuple[Arena, Sandbox]]:
    """An arena with its neighbour; nothing of it is left afterwards.

    Args:
        backend: under attack.
        folder: an empty host directory for workspaces and secrets.
    """
    place = Arena(backend, folder)
    hidden = folder / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / _CANARY_FILE).write_text(place.secret)
    (folder / "forum" / "r2").mkdir(parents=True)
    (folder / "forum" / "r2" / "post.md").write_text("by r2")
    former = os.environ.get("AAR_CANARY")
    os.environ["AAR_CANARY"] = place.secret
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    place.port = server.sockets[0].getsockname()[1]
    try:
        yield place, await place.neighbour()
    finally:
        server.close()
        for name in await backend.orphans(place.campaign):
            await backend.remove(name)
        if former is None:
            del os.environ["AAR_CANARY"]
        else:
            os.environ["AAR_CANARY"] = former


async def attempt(place: Arena, neighbour: Sandbox, escape: Escape) -> Outcome:
    """Make one attempt while the neighbour works, and look at what came of it."""
    box = await place.attacker()
    working = asyncio.create_task(_work(neighbour))
    said, got = "", []
    try:
        result = await box.exec(["python3", "-c", place.filled(escape.script)], timeout=escape.seconds)
        said = result.output
        got = [line for line in said.splitlines() if line.startswith("GOT THROUGH")]
        left = await box.exec(["python3", "-c", _LEFT], timeout=30)
        if left.output.strip() != "0":
            got.append(f"GOT THROUGH: {left.output.strip()} processes outlived it")
        await _tidy(box)
    except SandboxGone as gone:
        said = str(gone)
    fine = await working
    return Outcome(escape.name, escape.goal, "; ".join(got), fine, said[-2000:])


async def attempt_transfer(place: Arena, neighbour: Sandbox, name: str) -> Outcome:
    """Make one attempt through ``put``, ``get``, ``read`` or ``write``."""
    box = await place.attacker()
    working = asyncio.create_task(_work(neighbour))
    goal, act = TRANSFERS[name]
    target = place.folder / f"got-{name}"
    got = await act(place, box, target)
    await _tidy(box)
    return Outcome(name, goal, got, await working, "")


async def attempt_all(backend: SandboxBackend, folder: Path) -> Sequence[Outcome]:
    """Every attempt against one backend, for a table."""
    async with arena(backend, folder) as (place, neighbour):
        outcomes = [await attempt(place, neighbour, escape) for escape in ESCAPES]
        return [*outcomes, *[await attempt_transfer(place, neighbour, name) for name in TRANSFERS]]


async def _work(neighbour: Sandbox) -> bool:
    """What an honest researcher does meanwhile."""
    for number in range(3):
        result = await neighbour.exec(["python3", "-c", f"print(sum(range({number} + 10000)))"], timeout=60)
        if result.output.strip() != str(sum(range(number + 10000))):
            return False
    return await neighbour.read("secret.txt") != b""


async def _tidy(box: Sandbox) -> None:
    await box.exec("find /workspace /tmp /dev/shm -mindepth 1 -delete 2>/dev/null", timeout=60)


_LEFT = """
import os
n = -2
for p in os.listdir('/proc'):
    if p.isdigit():
        try: s = open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split()
        except OSError: continue
        own = s[1] == '1' and open(f'/proc/{p}/cmdline').read() == open('/proc/1/cmdline').read()
        n += s[0] not in 'ZX' and not own
print(n)
"""
"""Counts what is neither this script, nor the first process, nor an idle fork of it."""


async def _links(place: Arena, box: Sandbox, target: Path) -> str:
    await box.exec(
        f"mkdir d; ln -s {place.folder}/hidden/{_CANARY_FILE} d/a; ln -s /etc d/b; ln -s ../../.. d/c", timeout=20
    )
    for path in ("d", "d/b"):
        try:
            await box.get(path, target / path.replace("/", "-"))
        except TransferRefused:
            continue
        return f"GOT THROUGH: {path} came out"
    return ""


async def _dots(place: Arena, box: Sandbox, target: Path) -> str:
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


async def _swap(place: Arena, box: Sandbox, target: Path) -> str:
    """A directory that turns into a link to everything while it is copied out."""
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


async def _bombs(place: Arena, box: Sandbox, target: Path) -> str:
    """Archives stay archives: nothing on the host unpacks them; sparse giants are refused by their size."""
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


async def _specials(place: Arena, box: Sandbox, target: Path) -> str:
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


async def _names(place: Arena, box: Sandbox, target: Path) -> str:
    """Names that mean something to a shell, a terminal or a parser."""
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


TRANSFERS: dict[str, tuple[str, Callable[[Arena, Sandbox, Path], Awaitable[str]]]] = {
    "links-out": ("have links followed on the host", _links),
    "dots-in": ("have put write outside the sandbox", _dots),
    "swapped-directory": ("swap a directory for a link while it is copied", _swap),
    "archive-bombs": ("have the host unpack a zip or tar bomb, or copy a sparse giant", _bombs),
    "special-files": ("have the host read pipes, sockets and devices", _specials),
    "hostile-names": ("break out through file names", _names),
}
"""Attempts that need the host's hand: name -> goal, and a function that returns what got through."""


Battle = Callable[[Callable[[Arena, Sandbox], Awaitable[Outcome]]], Outcome]
"""Runs an attempt in the arena that all tests of a class share."""


class EscapeSuite:
    """Each attempt as a test: it fails, and the neighbour does not notice."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls) -> Callable[[], SandboxBackend]:
        """Give a function that makes the backend under test."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture(scope="class")
    @classmethod
    def battle(
        cls, make_backend: Callable[[], SandboxBackend], tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Battle]:
        """``battle(attempt)``: run an attempt in the arena that all tests of the class share."""
        with asyncio.Runner() as runner:
            backend = make_backend()
            ground = arena(backend, tmp_path_factory.mktemp("arena"))
            place, neighbour = runner.run(ground.__aenter__())

            async def fight(made: Callable[[Arena, Sandbox], Awaitable[Outcome]]) -> Outcome:
                return await made(place, neighbour)

            yield lambda made: runner.run(fight(made))
            runner.run(ground.__aexit__(None, None, None))
            runner.run(backend.close())

    @pytest.mark.parametrize("escape", ESCAPES, ids=lambda e: e.name)
    def test_attempt_fails_and_the_neighbour_works_on(self, battle: Battle, escape: Escape) -> None:
        outcome = battle(lambda place, neighbour: attempt(place, neighbour, escape))
        assert outcome.got_through == "", outcome.said
        assert outcome.neighbour_fine

    @pytest.mark.parametrize("name", TRANSFERS)
    def test_transfer_is_contained(self, battle: Battle, name: str) -> None:
        outcome = battle(lambda place, neighbour: attempt_transfer(place, neighbour, name))
        assert outcome.got_through == ""
        assert outcome.neighbour_fine
