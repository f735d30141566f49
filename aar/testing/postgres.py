"""A temporary PostgreSQL server for the length of a test run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aar.errors import SetupError


@contextmanager
def throwaway_postgres() -> Iterator[str]:
    """Start a temporary server, and remove it at the end.

    It lies in a temporary folder and is reachable by its socket only.

    Yields the URL of its database ``postgres``, whose user may create others.

    Raises:
        SetupError: PostgreSQL's programs are not installed, or the server did not start.
    """
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="aar-pg-"))
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if account:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs / program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
            **account,  # type: ignore[call-overload, unused-ignore]
        )
        if done.returncode != 0:
            raise SetupError(f"{program} failed with status {done.returncode}: {(done.stdout or b'')[-500:]!r}")

    try:
        run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]), reverse=True
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise SetupError("PostgreSQL's server programs are not installed", "Install Debian's package postgresql")
