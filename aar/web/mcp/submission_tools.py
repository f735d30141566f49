"""MCP tools for leaderboard, submissions, snapshots and budget, as researchers see them, and to submit a method.

``submit_method`` freezes files given as text and queues the method. It takes the same path as all other submissions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from pydantic import Field
from sqlalchemy.orm import Session

from aar.budget.limits import Limits, check_submission_quota
from aar.budget.totals import read_totals
from aar.campaign.controller_lock import ENDED_STATES
from aar.campaign.external_researchers import POSTS_PER_HOUR, remaining_posts
from aar.errors import Conflict, DataMissing, NotFound, UsageError
from aar.fsutil import temporary_folder
from aar.problems.registry import find_problem
from aar.readmodels.leaderboard import find_metric
from aar.readmodels.submission_code import CodeFile, read_submission_code
from aar.researcher.tools.definitions import ToolInput
from aar.scoring.method_manifest import MethodManifest
from aar.scoring.submissions import (
    SubmissionView,
    count_submissions,
    freeze_method,
    get_submission,
    list_submissions,
    submit,
)
from aar.scoring.visibility import Audience, leaderboard_seen_by, submission_seen_by
from aar.snapshots.lineage import list_snapshots, resolve_digest
from aar.snapshots.store import SavedSnapshot, SnapshotStore, check_name
from aar.text import parse_submission_number
from aar.web.api.submissions import SubmissionOut
from aar.web.mcp.tool import Key, Limit, McpClient, McpTool, SubmissionName
from aar.web.request_params import find_researcher

_LONGEST = 60_000
"""Maximum characters of code in one response."""
MOST_FILES = 100
MOST_BYTES = 1_000_000
"""Maximum of all files of a method together."""


class McpLeaderboardInput(ToolInput):
    """Lists measured submissions of all researchers, best first, rounded."""

    limit: Limit = 20


class SubmissionInput(ToolInput):
    """Returns one submission: its state, its score or rejection reason, its claim.

    Scoring takes minutes or more: check again later instead of polling every few seconds.
    """

    submission: SubmissionName


class SubmissionsInput(ToolInput):
    """Lists submissions by number."""

    researcher: Annotated[str | None, Field(max_length=64, description="Only this one's, such as r2.")] = None
    after: Annotated[int, Field(ge=0, le=2**31, description="Only numbers above this one.")] = 0
    limit: Limit = 30


class SnapshotListInput(ToolInput):
    """Lists snapshots of code, newest first, with their submissions."""

    skip: Annotated[int, Field(ge=0, le=10**6)] = 0
    limit: Limit = 30


class SnapshotFetchInput(ToolInput):
    """Returns the files of a submission or snapshot as text.

    Long files are cut: give `path` and `offset` for the rest.
    """

    snapshot: Annotated[str, Field(min_length=2, max_length=64, description="s7, or the first digits of a digest.")]
    path: Annotated[str | None, Field(max_length=1024, description="Only this file.")] = None
    offset: Annotated[int, Field(ge=0, description="In characters; only with `path`.")] = 0


class McpSubmitMethodInput(ToolInput):
    """Submits a method for scoring.

    Code and claim are frozen now. The controller scores them on fresh seeds and splits: check `submission` later. The
    files must include run.py, started as `python run.py --data DIR --seed N --out FILE`, and method.yaml with title,
    claim, families and, if it builds on a submission, parent. The resource aar://brief has the details. Submissions may
    be limited: see `budget`.
    """

    files: Annotated[
        dict[str, str],
        Field(
            min_length=1,
            max_length=MOST_FILES,
            description=f"Relative path to text; at most {MOST_FILES} files and {MOST_BYTES:,} bytes together.",
        ),
    ]
    parent: Annotated[
        str | None, Field(max_length=64, description="Submission (s3) or digest that it builds on; as in method.yaml.")
    ] = None
    key: Key = None


class McpBudgetInput(ToolInput):
    """Returns spent and remaining budget, of the campaign and of your submissions."""


async def _board(caller: McpClient, given: McpLeaderboardInput) -> Any:
    def read(session: Session) -> Any:
        metric = find_metric(caller.view(session).problem)
        higher = metric is None or metric.higher_is_better
        rows = leaderboard_seen_by(
            session, caller.campaign_id, Audience.RESEARCHER, limit=given.limit, higher_is_better=higher
        )
        return {
            "metric": None if metric is None else metric.name,
            "higher_is_better": higher,
            "rows": [{"rank": row.rank, **_brief(row.submission)} for row in rows],
        }

    return await caller.shared.db.read(read)


async def _submission(caller: McpClient, given: SubmissionInput) -> SubmissionOut:
    number = parse_submission_number(given.submission)
    found = await caller.shared.db.read(lambda session: get_submission(session, caller.campaign_id, number))
    return SubmissionOut.model_validate(submission_seen_by(found, Audience.RESEARCHER))


async def _submissions(caller: McpClient, given: SubmissionsInput) -> Any:
    def read(session: Session) -> list[SubmissionView]:
        by = given.researcher and find_researcher(session, caller.campaign_id, given.researcher).id
        return list_submissions(
            session, caller.campaign_id, researcher_id=by or None, after=given.after, limit=given.limit + 1
        )

    found = await caller.shared.db.read(read)
    shown = found[: given.limit]
    more = shown[-1].number if len(found) > given.limit else None
    return {"submissions": [_brief(submission_seen_by(each, Audience.RESEARCHER)) for each in shown], "next": more}


async def _snapshots(caller: McpClient, given: SnapshotListInput) -> Any:
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


async def _fetch(caller: McpClient, given: SnapshotFetchInput) -> Any:
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


async def _budget(caller: McpClient, given: McpBudgetInput) -> Any:
    def read(session: Session) -> Any:
        view, spent = caller.view(session), read_totals(session, caller.campaign_id).campaign
        limits = Limits.model_validate(view.spec.get("limits", {}))
        handed_in = count_submissions(session, caller.campaign_id)
        budget = {
            "campaign": {"id": view.id, "state": view.state, "cause": view.cause},
            "usd": {"spent": f"{spent.usd:f}", "limit": None if limits.usd is None else f"{limits.usd:f}"},
            "hours_limit": limits.hours,
            "submissions": {"handed_in": handed_in, "limit": limits.submissions},
        }
        if caller.researcher is not None:
            own = count_submissions(session, caller.campaign_id, caller.researcher.researcher_id)
            budget["your_submissions"] = {"handed_in": own, "limit": limits.researcher.submissions}
            left = remaining_posts(session, caller.researcher.researcher_id)
            if left is not None:
                budget["your_posts_this_hour"] = {"left": left, "limit": POSTS_PER_HOUR}
        return budget

    return await caller.shared.db.read(read)


def _brief(view: SubmissionView) -> dict[str, Any]:
    shown: dict[str, Any] = SubmissionOut.model_validate(view).model_dump(
        mode="json", exclude={"number", "claim", "verdict", "researcher_id", "created_at", "finished_at"}
    )
    return {"submission": f"s{view.number}", **shown}


async def _submit(caller: McpClient, given: McpSubmitMethodInput) -> Any:
    researcher, db = caller.writer(), caller.shared.db
    snapshots = caller.shared.snapshots_of(caller.campaign_id)
    if snapshots is None:
        raise DataMissing("the campaign's folder is not on this machine", "Submit where the campaign runs")
    if given.key is None:  # with a key, this may be a submission that was accepted before
        await db.read(lambda session: _check(session, caller, researcher.researcher_id))
    saved, manifest = await anyio.to_thread.run_sync(freeze_files, snapshots, given.files, given.parent)

    def write(session: Session) -> SubmissionView:
        limits = _open_limits(session, caller)
        return submit(
            session,
            campaign_id=caller.campaign_id,
            researcher_id=researcher.researcher_id,
            saved=saved,
            manifest=manifest,
            idempotency_key=_stored_key(researcher.researcher_id, given.key),
            limits=limits,
            runs=_runs_each(session, caller),
        )

    view = await db.write(write)
    return {
        "submission": f"s{view.number}",
        "state": view.state,
        "digest": view.digest,
        "next": "Its code and claim are frozen; ask `submission` for its score later.",
    }


def freeze_files(
    snapshots: SnapshotStore, files: Mapping[str, str], parent: str | None = None
) -> tuple[SavedSnapshot, MethodManifest]:
    """Checks a method given as text and stores it as a snapshot.

    Raises:
        UsageError: too many bytes, conflicting names, or an invalid manifest.
        TransferRefused: a name that would leave the method's directory.
    """
    size = sum(len(text.encode("utf-8", "replace")) for text in files.values())
    if size > MOST_BYTES:
        raise UsageError(f"the files have {size:,} bytes together, expected at most {MOST_BYTES:,}", "Shorten")
    with temporary_folder("aar-method-") as scratch:
        directory = scratch / "method"
        directory.mkdir()
        for name, text in files.items():
            _write(directory / check_name(name), name, text)
        return freeze_method(snapshots, directory, parent)


def _write(path: Path, name: str, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UsageError(f"{name!r} is both a file and a folder", "Rename one of them") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{name!r} contains an unpaired surrogate", "Send UTF-8 text") from error
    except OSError as error:
        raise UsageError(f"{name[:80]!r} cannot be a file's name: {error.strerror}", "Shorten it") from error


def _check(session: Session, caller: McpClient, researcher_id: str) -> None:
    """Refuses early if the submission would be refused later."""
    limits, runs = _open_limits(session, caller), _runs_each(session, caller)
    check_submission_quota(session, caller.campaign_id, researcher_id, limits, runs)


def _open_limits(session: Session, caller: McpClient) -> Limits:
    view = caller.view(session)
    if view.state in ENDED_STATES:
        raise Conflict(f"campaign {view.id} is {view.state}; it accepts no submissions", "Join one that runs")
    return Limits.model_validate(view.spec.get("limits", {}))


def _runs_each(session: Session, caller: McpClient) -> int:
    """Returns the scoring runs of one submission, for the quotas."""
    view = caller.view(session)
    problem = find_problem(view.problem)
    seeds: int = (view.spec.get("scoring") or {}).get("seeds") or problem.default_seeds
    return seeds * len(problem.climbed_domains)


def _stored_key(researcher_id: str, key: str | None) -> str | None:
    """Returns a key of fixed length, unique to the researcher and this tool.

    It differs from keys of other researchers and of tools in sandboxes.
    """
    if key is None:
        return None
    return "mcp-" + hashlib.sha256(f"{researcher_id}\0{key}".encode("utf-8", "backslashreplace")).hexdigest()


TOOLS = (
    McpTool("leaderboard", McpLeaderboardInput, _board),
    McpTool("submission", SubmissionInput, _submission),
    McpTool("submissions", SubmissionsInput, _submissions),
    McpTool("snapshot_list", SnapshotListInput, _snapshots),
    McpTool("snapshot_fetch", SnapshotFetchInput, _fetch),
    McpTool("budget", McpBudgetInput, _budget),
    McpTool("submit_method", McpSubmitMethodInput, _submit, writes=True),
)
