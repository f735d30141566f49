"""``submit_method``, ``fetch_snapshot``, ``leaderboard``: frozen code and its measured scores."""

from __future__ import annotations

import posixpath
from pathlib import Path

import anyio.to_thread

from aar.errors import TransferRefused, UsageError, is_transient
from aar.fsutil import temporary_folder
from aar.researcher.tools.definitions import (
    FetchSnapshotInput,
    LeaderboardInput,
    SubmitMethodInput,
    ToolResult,
    ToolRun,
)
from aar.sandbox.protocol import WORKSPACE, Sandbox
from aar.scoring.results.leaderboard import LeaderboardRow
from aar.scoring.submissions import freeze_method, submit
from aar.scoring.visibility import Audience, leaderboard_seen_by
from aar.snapshots.lineage import resolve_digest

SHORT_DIGEST = 12


async def submit_method_tool(run: ToolRun, args: SubmitMethodInput) -> ToolResult:
    """Freeze a method and submit it."""
    ctx = run.ctx
    if not run.repeated:
        await ctx.ledger.check_submission(ctx.researcher_id, ctx.runs_per_submission)
    sandbox = await ctx.sandbox.current()
    path = posixpath.normpath(posixpath.join(WORKSPACE, args.path))
    with temporary_folder("aar-method-") as scratch:
        directory = scratch / "method"
        await _take(sandbox, path, directory)
        saved, manifest = await anyio.to_thread.run_sync(freeze_method, ctx.snapshots, directory, args.parent)
    submission = await ctx.db.write(
        lambda session: submit(
            session,
            campaign_id=ctx.campaign_id,
            researcher_id=ctx.researcher_id,
            saved=saved,
            manifest=manifest,
            idempotency_key=run.key,
            limits=ctx.ledger.limits,
            runs=ctx.runs_per_submission,
        )
    )
    return ToolResult(
        f"Submission s{submission.number} received, snapshot {submission.digest[:SHORT_DIGEST]}.\n"
        f"Its code, claim and hypothesis are frozen; `wait` for submission s{submission.number} to read its score."
    )


async def _take(sandbox: Sandbox, path: str, directory: Path) -> None:
    try:
        await sandbox.get(path, directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path} is not a directory", "Name the directory that holds run.py and method.yaml"
        ) from error
    except TransferRefused as error:
        raise UsageError(f"cannot submit {path}: {error.message}", error.remedy) from error
    except OSError as error:
        if is_transient(error):
            raise
        raise UsageError(f"cannot submit {path}: {error.strerror}", "Check it with bash") from error


async def fetch_snapshot_tool(run: ToolRun, args: FetchSnapshotInput) -> ToolResult:
    """Write a snapshot into the workspace."""
    ctx = run.ctx
    digest = await ctx.db.read(lambda session: resolve_digest(session, ctx.campaign_id, args.snapshot))
    sandbox = await ctx.sandbox.current()
    target = posixpath.normpath(posixpath.join(WORKSPACE, args.into or f"fetched/{args.snapshot}"))
    if not run.repeated and (await sandbox.exec(["test", "-e", target], timeout=30)).ok:
        raise UsageError(f"{target} exists already", "Name a new directory in `into`")
    with temporary_folder("aar-fetch-") as scratch:
        directory = scratch / "snapshot"
        await anyio.to_thread.run_sync(ctx.snapshots.materialise, digest, directory)
        await sandbox.put(directory, target)
        names = await anyio.to_thread.run_sync(_names, directory)
    return ToolResult(f"Snapshot {digest[:SHORT_DIGEST]} written to {target}:\n" + "\n".join(names))


def _names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


async def leaderboard_tool(run: ToolRun, args: LeaderboardInput) -> ToolResult:
    """Return the leaderboard."""
    ctx, metric = run.ctx, run.ctx.problem.metric
    rows = await ctx.db.read(
        lambda session: leaderboard_seen_by(
            session,
            ctx.campaign_id,
            Audience.RESEARCHER,
            limit=args.limit,
            higher_is_better=metric.higher_is_better,
        )
    )
    head = f"rank  submission  researcher  {metric.name}  error  status  band  labels  families  title"
    return ToolResult("\n".join([head, *(_row(row) for row in rows)] if rows else [head, "(nothing is measured yet)"]))


def _row(row: LeaderboardRow) -> str:
    entry = row.submission
    families = ",".join(entry.families) or "other"
    labels = ",".join(label.replace(" ", "") for label in row.labels) or "-"
    return (
        f"{row.rank}  s{entry.number}  {entry.researcher_name}  {entry.mean or 0.0:.2f}  "
        f"{entry.standard_error or 0.0:.2f}  {entry.status}  {row.band}  {labels}  {families}  {entry.title}"
    )
