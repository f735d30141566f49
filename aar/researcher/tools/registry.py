"""The registry of all tools by name."""

from __future__ import annotations

from collections.abc import Mapping

from aar.researcher.tools.bash import BASH
from aar.researcher.tools.definitions import EDITOR
from aar.researcher.tools.editor import EDITOR_TOOL
from aar.researcher.tools.forum.forum_tools import CLAIM, COMMENT, EDIT_POST, POST, VOTE
from aar.researcher.tools.jobs import JOB_OUTPUT, START_JOB, STOP_JOB
from aar.researcher.tools.methods import FETCH_SNAPSHOT, LEADERBOARD, SUBMIT_METHOD
from aar.researcher.tools.session import BUDGET, FINISH
from aar.researcher.tools.tool import Tool
from aar.researcher.tools.wait import WAIT

TOOLS: Mapping[str, Tool] = {
    "bash": BASH,
    EDITOR: EDITOR_TOOL,
    "start_job": START_JOB,
    "wait": WAIT,
    "job_output": JOB_OUTPUT,
    "stop_job": STOP_JOB,
    "submit_method": SUBMIT_METHOD,
    "leaderboard": LEADERBOARD,
    "post": POST,
    "comment": COMMENT,
    "vote": VOTE,
    "edit_post": EDIT_POST,
    "claim": CLAIM,
    "fetch_snapshot": FETCH_SNAPSHOT,
    "budget": BUDGET,
    "finish": FINISH,
}
