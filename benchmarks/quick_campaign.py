"""Times the quick campaign from the command line.

First tool call, first measured PGR, the whole, and the best score.

Run: python benchmarks/quick_campaign.py [options of `aar start`, such as --sandbox docker --seed 3]

Times count from the moment the command is typed (the process is spawned). Controller CPU is the time of the
controller's own process, without sandboxes and without the offline model server; it includes preparing splits and
scoring.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from aar.scoring.results.leaderboard import read_leaderboard
from aar.store import open_database
from aar.store.event_log import LoggedEvent, read_events

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run one campaign in its own folder, print the figures, leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="aar-quick-") as home:
        command = [sys.executable, "-m", "aar", "start", "--plain", "--port", "0", *sys.argv[1:]]
        environment = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_API_KEY"}
        spawned, moment = time.monotonic(), datetime.now(UTC)
        with subprocess.Popen(
            command, env={**environment, "AAR_HOME": home}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            cpu = 0.0
            while process.poll() is None:
                cpu = _cpu_seconds(process.pid) or cpu
                time.sleep(0.2)
            took = time.monotonic() - spawned
            if process.returncode:
                sys.exit(process.stderr.read() if process.stderr else "the campaign failed")
        _report(Path(home), moment, took, cpu)


def _report(home: Path, moment: datetime, took: float, cpu: float) -> None:
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        from aar.campaign.views import get_campaign

        campaign = get_campaign(session)
        events = _all_events(session, campaign.id)
        board = read_leaderboard(session, campaign.id)
    db.close()
    turns = [logged for logged in events if logged.event.kind == "turn_received"]
    print(f"ended as {campaign.state}: {campaign.cause}; sandboxes by {campaign.sandbox}")
    for label, kind in (
        ("controller started", "campaign_started"),
        ("first tool call", "tool_started"),
        ("first submission", "submission_received"),
        ("first measured PGR", "submission_measured"),
    ):
        first = next((logged.at for logged in events if logged.event.kind == kind), None)
        print(f"{label}: {(first - moment).total_seconds():.1f} s" if first else f"{label}: never")
    print(f"whole campaign: {took:.0f} s")
    print(f"scored submissions: {len(board)}")
    if board:
        best = board[0].submission
        print(
            f"best: {best.mean:.3f} ± {best.standard_error:.3f} (90 % {best.low:.3f} to {best.high:.3f}) {best.title}"
        )
        print(f"median: {statistics.median(row.submission.mean or 0 for row in board):.3f}")
    print(f"turns: {len(turns)}; controller CPU {cpu:.1f} s, {1000 * cpu / max(1, len(turns)):.0f} ms a turn")


def _all_events(session: object, campaign_id: str) -> list[LoggedEvent]:
    events: list[LoggedEvent] = []
    while page := read_events(session, campaign_id, after=events[-1].id if events else 0):  # type: ignore[arg-type]
        events.extend(page)
    return events


def _cpu_seconds(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
