"""The prompts and notices that a researcher reads; none of them prescribes a workflow.

The three lines ``Researcher: ...``, ``Problem: ...`` and ``Direction: <key>: ...`` of the system prompt are a contract
with programs that play a researcher.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from aar.problems.plugin_calls import read_brief

if TYPE_CHECKING:
    from aar.researcher.context import ResearcherContext

OPENING = (
    "You are starting now. Your workspace is /workspace; explore /data, /lab and /forum, and read "
    "/workspace/NOTEBOOK.md if it exists, then begin."
)
NUDGE = "[No tool was called. Continue your work, or call `finish` if nothing useful is left to do.]"
CONTEXT_WARNING = (
    "[A fresh conversation will soon replace this one: only /workspace/NOTEBOOK.md and the last few turns will remain. "
    "Write down now everything that you will need.]"
)


def system_prompt(ctx: ResearcherContext) -> tuple[str, str]:
    """Return the system prompt's two parts: the team's and the researcher's own.

    Neither part changes during a researcher's life. The team's comes first, so that the prompt cache stays valid and
    shared.
    """
    team = _template("system.md").substitute(
        problem=ctx.problem.name,
        brief=read_brief(ctx.problem).strip(),
        command_seconds=f"{ctx.command_seconds:.0f}",
        job_minutes=f"{ctx.job_seconds / 60:.0f}",
    )
    own = _template("own.md").substitute(
        name=ctx.name, direction_key=ctx.direction.key, direction=" ".join(ctx.direction.text.split())
    )
    return team, own


def landing_notice(near: str) -> str:
    """Return the notice to a researcher when the budget nears its end."""
    return (
        f"[The end is near: {near}. Begin nothing new. Submit what is worth measuring, post what you learned (also "
        "what did not work), and leave /workspace/NOTEBOOK.md in order. Then call `finish`.]"
    )


def handover_notice(notebook: str) -> str:
    """Return the notice to a researcher at the start of a fresh conversation."""
    told = notebook.strip() or "(empty: you have not written /workspace/NOTEBOOK.md)"
    return (
        "[This conversation replaces your earlier one; files, jobs, posts and submissions are as you "
        f"left them. The last few turns follow. Your notebook, /workspace/NOTEBOOK.md:]\n\n{told}"
    )


@lru_cache(maxsize=4)
def _template(name: str) -> Template:
    return Template(files(__name__).joinpath(name).read_text(encoding="utf-8"))
