"""MCP tool ``submit_method``: freezes files given as text and queues the method.

It takes the same path as all other submissions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
from sqlalchemy.orm import Session

from aar.budget.limits import Limits, check_submission_quota
from aar.campaign.external_researchers import ENDED_STATES
from aar.errors import Conflict, DataMissing, UsageError
from aar.fsutil import temporary_folder
from aar.problems.registry import find_problem
from aar.scoring.method_manifest import MethodManifest, read_manifest
from aar.scoring.submissions import SubmissionView, submit
from aar.snapshots.store import SavedSnapshot, SnapshotStore, check_name
from aar.web.mcp import tool_inputs
from aar.web.mcp.client import McpClient
from aar.web.mcp.tool import McpTool


async def _submit(caller: McpClient, given: tool_inputs.McpSubmitMethodInput) -> Any:
    researcher, db = caller.writer(), caller.shared.db
    snapshots = caller.shared.snapshots_of(caller.campaign_id)
    if snapshots is None:
        raise DataMissing("the campaign's folder is not on this machine", "Submit where the campaign runs")
    if given.key is None:  # with a key, this may be a submission that was accepted before
        await db.read(lambda session: _check(session, caller, researcher.researcher_id))
    saved, manifest = await anyio.to_thread.run_sync(freeze_files, snapshots, given.files)
    if given.parent is not None:
        manifest = manifest.model_copy(update={"parent": given.parent})

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


def freeze_files(snapshots: SnapshotStore, files: Mapping[str, str]) -> tuple[SavedSnapshot, MethodManifest]:
    """Checks a method given as text and stores it as a snapshot.

    Raises:
        UsageError: too many bytes, conflicting names, or an invalid manifest.
        TransferRefused: a name that would leave the method's directory.
    """
    size = sum(len(text.encode("utf-8", "replace")) for text in files.values())
    if size > tool_inputs.MOST_BYTES:
        raise UsageError(
            f"the files have {size:,} bytes together, expected at most {tool_inputs.MOST_BYTES:,}", "Shorten"
        )
    with temporary_folder("aar-method-") as scratch:
        directory = scratch / "method"
        directory.mkdir()
        for name, text in files.items():
            _write(directory / check_name(name), name, text)
        manifest = read_manifest(directory)
        return snapshots.save(directory), manifest


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


TOOLS = (McpTool("submit_method", tool_inputs.McpSubmitMethodInput, _submit, writes=True),)
