"""The MCP tool class: input, work, and the text of results and errors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from aar.errors import UsageError
from aar.researcher.tools.definitions import ToolInput
from aar.text.sanitize import clean_text
from aar.web.mcp.client import McpClient


@dataclass(frozen=True, slots=True)
class McpTool:
    """An MCP tool.

    Args:
        given: its input class; the docstring describes the tool.
        run: does the work; returns a pydantic model or plain JSON.
        writes: True if it needs a researcher's token.
    """

    name: str
    given: type[ToolInput]
    run: Callable[[McpClient, Any], Awaitable[Any]]
    writes: bool = False

    @property
    def description(self) -> str:
        """Returns the description for clients."""
        return " ".join(inspect.cleandoc(self.given.__doc__ or "").split())

    def parse(self, arguments: dict[str, Any]) -> ToolInput:
        """Parses the input. Raises UsageError with a text that a model can use."""
        try:
            return self.given.model_validate(arguments)
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, each['loc'])) or 'input'}: {each['msg']}" for each in error.errors()[:5]]
            raise UsageError(f"{self.name}: {'; '.join(wrong)}", "See the tool's schema") from error


def tool_text(answer: Any) -> str:
    """Formats a result as inert JSON.

    No text in it can control a terminal or change the reading direction.
    """
    if isinstance(answer, BaseModel):
        answer = answer.model_dump(mode="json")
    return json.dumps(_clean(answer), ensure_ascii=False)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case BaseModel():
            return _clean(value.model_dump(mode="json"))
        case dict():
            return {clean_text(str(key)): _clean(each) for key, each in value.items()}
        case list() | tuple():
            return [_clean(each) for each in value]
        case _:
            return value
