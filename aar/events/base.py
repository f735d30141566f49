"""The base class of all events."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """Base of all kinds; ``kind`` names the class in the log."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True, extra="forbid")

    kind: str
    line: ClassVar[str] = ""
    """Format of the one line that the plain view prints, over the event's own fields."""

    def summary(self) -> str:
        """Return one line for people, with control characters: render it through a sanitiser."""
        return type(self).line.format(**self.model_dump())
