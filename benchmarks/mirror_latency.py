"""Measures the delay until a post is a file in every sandbox.

A real campaign runs meanwhile.

Run: python benchmarks/mirror_latency.py [POSTS] [options of `aar start`, such as --sandbox docker --problem toy]

Posts are written by another process than the controller, as those of the web server or of external researchers are, at
random moments; the folder that is checked is the one that the sandboxes show under /forum. Times count from the commit.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving import ms

from aar.campaign.views import get_campaign
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.store import open_database
from aar.store.database import Database

_START = ("start", "--no-serve", "--plain", "--yes", "--model", "offline-search", "--submissions", "none")
_GIVE_UP_SECONDS = 60.0


def main() -> None:
    """Start a campaign in its own folder, write posts, print the delays, end it."""
    given = sys.argv[1:]
    posts = int(given.pop(0)) if given and given[0].isdigit() else 60
    with tempfile.TemporaryDirectory(prefix="aar-mirror-") as home, _campaign(Path(home), given) as db:
        with db.reading() as session:
            campaign = get_campaign(session).id
        folder = Path(home, "campaigns", campaign, "forum", "posts")
        waits = sorted(_wait(db, campaign, folder, number) for number in range(posts))
        db.close()
    print(f"{posts} posts: p50 {ms(waits, 0.5)} ms, p95 {ms(waits, 0.95)} ms, most {waits[-1] * 1000:.0f} ms")


def _wait(db: Database, campaign: str, folder: Path, number: int) -> float:
    time.sleep(random.uniform(0.1, 0.6))
    with db.writing() as session:
        made = create_post(
            session, campaign, Author("human:bench", None), kind="insight", title=f"Post {number}", body="What I saw."
        )
    begun = time.monotonic()
    while not any(folder.glob(f"{made.id:04d}-*")):
        if time.monotonic() - begun > _GIVE_UP_SECONDS:
            sys.exit(f"#{made.id} never came")
        time.sleep(0.005)
    return time.monotonic() - begun


@contextmanager
def _campaign(home: Path, options: list[str]) -> Iterator[Database]:
    environment = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_API_KEY"}
    command = [sys.executable, "-m", "aar", *_START, *options]
    with subprocess.Popen(
        command,
        env={**environment, "AAR_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not list(home.glob("campaigns/*/forum/README.md")):
                if process.poll() is not None:
                    sys.exit(process.stderr.read() if process.stderr else "the campaign failed")
                time.sleep(0.1)
            yield open_database(f"sqlite:///{home / 'aar.db'}")
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
