"""The agent loop that runs beside the controller: one conversation, one sandbox, one direction."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aar.researcher.context import Outcome, ResearcherContext
    from aar.researcher.researcher import run_researcher

__all__ = ["Outcome", "ResearcherContext", "run_researcher"]

_HOMES = {"Outcome": "context", "ResearcherContext": "context", "run_researcher": "researcher"}


def __getattr__(name: str) -> Any:
    # On first use only: the offline model server lives in this package, starts in a moment, and needs none of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
