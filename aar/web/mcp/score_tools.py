"""MCP tools for leaderboard, submissions, snapshots and budget, as researchers see them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import anyio.to_thread
from sqlalchemy.orm import Session

from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.campaign.external_researchers import POSTS_PER_HOUR, remaining_posts
from aar.errors import DataMissing, NotFound
from aar.readmodels.leaderboard import find_metric
from aar.readmodels.submission_code import CodeFile, read_submission_code
from aar.scoring.results.leaderboard import read_leaderboard
from aar.scoring.submissions import SubmissionView, count_submissions, get_submission, list_submissions
from aar.scoring.visibility import Audience, rows_seen_by, submission_seen_by
from aar.snapshots.lineage import list_snapshots, resolve_digest
from aar.snapshots.store import SnapshotStore
from aar.web.api.submissions import SubmissionOut
from aar.web.mcp import tool_inputs
from aar.web.mcp.client import McpClient
from aar.web.mcp.tool import McpTool
from aar.web.request_params import find_researcher

_LONGEST = 60_000
"""Maximum characters of code in one response."""


async def _board(caller: McpClient, given: tool_inputs.McpLeaderboardInput) -> Any:
    def read(session: Session) -> Any:
        metric = find_metric(caller.view(session).problem)
        higher = metric is None or metric.higher_is_better
        found = read_leaderboard(
            session, caller.campaign_id, limit=given.limit, higher_is_better=higher, disclosed_only=True
        )
        rows = rows_seen_by(found, Audience.RESEARCHER)
        return {
            "metric": None if metric is None else metric.name,
            "higher_is_better": higher,
            "rows": [{"rank": row.rank, **_brief(row.submission)} for row in rows],
        }

    return await caller.shared.db.read(read)


async def _submission(caller: McpClient, given: tool_inputs.SubmissionInput) -> SubmissionOut:
    number = int(given.submission.removeprefix("s"))
    found = await caller.shared.db.read(lambda session: get_submission(session, caller.campaign_id, number))
    return SubmissionOut.of(submission_seen_by(found, Audience.RESEARCHER))


async def _submissions(caller: McpClient, given: tool_inputs.SubmissionsInput) -> Any:
    def read(session: Session) -> list[SubmissionView]:
        by = given.researcher and find_researcher(session, caller.campaign_id, given.researcher).id
        return list_submissions(
            session, caller.campaign_id, researcher_id=by or None, after=given.after, limit=given.limit + 1
        )

    found = await caller.shared.db.read(read)
    shown = found[: given.limit]
    more = shown[-1].number if len(found) > given.limit else None
    return {"submissions": [_brief(submission_seen_by(each, Audience.RESEARCHER)) for each in shown], "next": more}


async def _snapshots(caller: McpClient, given: tool_inputs.SnapshotListInput) -> Any:
    found = await caller.shared.db.read(
        lambda session: list_snapshots(session, caller.campaign_id, skip=given.skip, limit=given.limit)
    )
    return {
        "snapshots": [
            asdict(each)
            | {"created_at": each.created_at.isoformat(), "submissions": [f"s{number}" for number in each.submissions]}
            for each in found
        ]
    }


async def _fetch(caller: McpClient, given: tool_inputs.SnapshotFetchInput) -> Any:
    digest = await caller.shared.db.read(lambda session: resolve_digest(session, caller.campaign_id, given.snapshot))
    files = await anyio.to_thread.run_sync(_code, caller.shared.snapshots_of(caller.campaign_id), digest)
    if given.path is not None:
        files = [file for file in files if file.path == given.path]
        if not files:
            raise NotFound(f"no file {given.path!r} in {given.snapshot}", "Leave `path` out to list all files")
    shown, room = [], _LONGEST
    for file in files:
        text = None if file.text is None else file.text[given.offset if given.path else 0 :]
        part = text and text[:room]
        room -= len(part or "")
        shown.append(
            {
                "path": file.path,
                "size_bytes": file.size_bytes,
                "text": part,
                "left_out": len(text or "") - len(part or ""),
            }
        )
    return {"digest": digest, "files": shown}


def _code(snapshots: SnapshotStore | None, digest: str) -> list[CodeFile]:
    if snapshots is None or not snapshots.exists(digest):
        raise DataMissing(f"the code of {digest:.12} is not on this machine", "Ask where the campaign runs")
    return read_submission_code(snapshots, digest)


async def _budget(caller: McpClient, given: tool_inputs.McpBudgetInput) -> Any:
    def read(session: Session) -> Any:
        view, spent = caller.view(session), read_totals(session, caller.campaign_id).campaign
        limits = Limits.model_validate(view.spec.get("limits", {}))
        handed_in = count_submissions(session, caller.campaign_id)
        told = {
            "campaign": {"id": view.id, "state": view.state, "cause": view.cause},
            "usd": {"spent": f"{spent.usd:f}", "limit": None if limits.usd is None else f"{limits.usd:f}"},
            "hours_limit": limits.hours,
            "submissions": {"handed_in": handed_in, "limit": limits.submissions},
        }
        if caller.researcher is not None:
            own = count_submissions(session, caller.campaign_id, caller.researcher.researcher_id)
            told["your_submissions"] = {"handed_in": own, "limit": limits.researcher.submissions}
            left = remaining_posts(session, caller.researcher.researcher_id)
            if left is not None:
                told["your_posts_this_hour"] = {"left": left, "limit": POSTS_PER_HOUR}
        return told

    return await caller.shared.db.read(read)


def _brief(view: SubmissionView) -> dict[str, Any]:
    shown: dict[str, Any] = SubmissionOut.of(view).model_dump(
        mode="json", exclude={"number", "claim", "verdict", "researcher_id", "created_at", "finished_at"}
    )
    return {"submission": f"s{view.number}", **shown}


TOOLS = (
    McpTool("leaderboard", tool_inputs.McpLeaderboardInput, _board),
    McpTool("submission", tool_inputs.SubmissionInput, _submission),
    McpTool("submissions", tool_inputs.SubmissionsInput, _submissions),
    McpTool("snapshot_list", tool_inputs.SnapshotListInput, _snapshots),
    McpTool("snapshot_fetch", tool_inputs.SnapshotFetchInput, _fetch),
    McpTool("budget", tool_inputs.McpBudgetInput, _budget),
)
