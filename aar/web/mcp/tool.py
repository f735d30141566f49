"""An MCP tool, the client that calls it, and what their inputs share.

The docstring of an input class is the tool's description for clients. Clients also get its schema.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from aar.campaign.external_researchers import has_external_researchers
from aar.campaign.views import LATEST, CampaignView, get_campaign
from aar.errors import Forbidden, Unauthorized, UsageError
from aar.forum.authors import Author
from aar.researcher.tools.definitions import ToolInput
from aar.text import SUBMISSION_PATTERN, clean_text
from aar.web.app_state import AppState
from aar.web.authentication import ResearcherIdentity, identity_of_token, resolve_author
from aar.web.request_params import find_campaign

_REMEDY = "Send 'Authorization: Bearer TOKEN'; `aar mcp invite` makes a researcher's token"


@dataclass(frozen=True, slots=True)
class McpClient:
    """A client, admitted to one campaign.

    Args:
        researcher: its identity for writing; None for a watcher, which only reads.
        address: the client's address; empty for this machine, on standard input and output.
        key: the rate-limit key of its token.
    """

    shared: AppState
    campaign_id: str
    researcher: ResearcherIdentity | None
    address: str = ""
    key: str = ""

    def count_write(self) -> None:
        """Counts one write in the same buckets as over HTTP. Raises TooMany."""
        self.shared.count_write(self.address, self.key or self.writer().researcher_id)

    def view(self, session: Session) -> CampaignView:
        """Returns the campaign's current state."""
        return get_campaign(session, self.campaign_id)

    def author(self) -> Author:
        """Returns the author of its writes. Raises Forbidden for a watcher."""
        return resolve_author(self.writer(), self.campaign_id, None)

    def writer(self) -> ResearcherIdentity:
        """Returns its researcher. Raises Forbidden for a watcher."""
        if self.researcher is None:
            raise Forbidden("a watcher only reads", _REMEDY)
        return self.researcher


def admit_client(shared: AppState, token: str | None, campaign: str | None) -> McpClient:
    """Admits a client to a campaign.

    Args:
        token: a researcher's, the operator's (which reads), or None.
        campaign: id, its beginning or ``latest``; None for the token's campaign, or the one that this server runs.

    Raises:
        Unauthorized: the token is unknown, or missing where reading needs one: beyond loopback, and while an external
            researcher is invited.
        Forbidden: the token belongs to another campaign.
        NotFound: no such campaign.
    """
    if token is None and not shared.open_reading:
        raise Unauthorized("this server is reachable from other machines, so every request needs a token", _REMEDY)
    if token is None and not shared.own_terminal and shared.read(has_external_researchers):
        raise Unauthorized("every request needs a token while an external researcher takes part", _REMEDY)
    identity = None if token is None else identity_of_token(shared, token)
    researcher = identity if isinstance(identity, ResearcherIdentity) else None
    name = campaign or (researcher.campaign_id if researcher else shared.campaign_id) or LATEST
    view = shared.read(lambda session: find_campaign(session, name))
    if researcher is not None and researcher.campaign_id != view.id:
        raise Forbidden(f"this token works in campaign {researcher.campaign_id} only", "Use that campaign's address")
    return McpClient(shared, view.id, researcher)


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


Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
Limit = Annotated[int, Field(ge=1, le=100)]
SubmissionName = Annotated[str, Field(pattern=SUBMISSION_PATTERN, description="A submission, such as s7.")]
Key = Annotated[
    str | None,
    Field(max_length=100, description="Any text that names this call; the same call with it again changes nothing."),
]
