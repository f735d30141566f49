"""Who calls a tool, and in which campaign."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from aar.campaign.external_researchers import has_external_researchers
from aar.campaign.views import LATEST, CampaignView, get_campaign
from aar.errors import Forbidden
from aar.forum.posts import Author
from aar.web.app_state import AppState
from aar.web.authentication import ResearcherIdentity, identity_of_token, resolve_author
from aar.web.error_handlers import Unauthorized
from aar.web.path_params import find_campaign

_REMEDY = "Send 'Authorization: Bearer TOKEN'; `aar mcp invite` makes a researcher's token"


@dataclass(frozen=True, slots=True)
class McpClient:
    """One client, admitted to one campaign.

    Args:
        researcher: as whom it writes; None for a watcher, who only reads.
        address: the machine that asks; empty for this one, on standard input and output.
        key: what its token's requests are counted under.
    """

    shared: AppState
    campaign_id: str
    researcher: ResearcherIdentity | None
    address: str = ""
    key: str = ""

    def count_write(self) -> None:
        """Count one call of a writing tool, in the same buckets as writes over HTTP. Raises TooMany."""
        self.shared.count_write(self.address, self.key or self.writer().researcher_id)

    def view(self, session: Session) -> CampaignView:
        """The campaign as it stands."""
        return get_campaign(session, self.campaign_id)

    def author(self) -> Author:
        """As whom it writes. Raises Forbidden for a watcher."""
        return resolve_author(self.writer(), self.campaign_id, None)

    def writer(self) -> ResearcherIdentity:
        """The researcher that it is. Raises Forbidden for a watcher."""
        if self.researcher is None:
            raise Forbidden("a watcher only reads", _REMEDY)
        return self.researcher


def admit_client(shared: AppState, token: str | None, campaign: str | None) -> McpClient:
    """Let a client in.

    Args:
        token: a researcher's, the operator's (which reads), or None.
        campaign: id, its beginning or ``latest``; None for the token's campaign, or the one that this server runs.

    Raises:
        Unauthorized: nobody gave out this token, or there is none where reading needs one: beyond loopback, and while
            a guest is invited.
        Forbidden: the token is of another campaign.
        NotFound: no such campaign.
    """
    if token is None and not shared.open_reading:
        raise Unauthorized("this server is reachable from other machines, so every request needs a token", _REMEDY)
    if token is None and not shared.own_terminal and shared.read(has_external_researchers):
        raise Unauthorized("every request needs a token while somebody from outside takes part", _REMEDY)
    identity = None if token is None else identity_of_token(shared, token)
    researcher = identity if isinstance(identity, ResearcherIdentity) else None
    name = campaign or (researcher.campaign_id if researcher else shared.campaign_id) or LATEST
    view = shared.read(lambda session: find_campaign(session, name))
    if researcher is not None and researcher.campaign_id != view.id:
        raise Forbidden(f"this token is of campaign {researcher.campaign_id} only", "Use that campaign's address")
    return McpClient(shared, view.id, researcher)
