"""Authenticates requests by token or login cookie, and checks roles.

There are three roles: a viewer reads, an operator reads and acts, a researcher writes as itself in its own campaign.
Programs authenticate with a bearer token, which browsers do not add by themselves. People log in on a page; their
cookie is sent to this site only, and it acts only together with a CSRF token from this site's own forms. On loopback,
while no external researcher takes part, reading researchers' data needs no authentication. Data for people only, and
everything beyond loopback, needs a login or a token. HTTP Basic (the token as the password) only reads.

Each request is authenticated once (``authenticate``), before it is counted or handled.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from aar.auth.sessions import SESSION_COOKIE, Login, Role, SessionStore
from aar.auth.tokens import find_token_holder
from aar.campaign.external_researchers import has_external_researchers
from aar.errors import Forbidden, Unauthorized
from aar.forum.authors import Author
from aar.scoring.visibility import Audience
from aar.web.app_state import AppState, AppStateDep

_REMEDY = "Send 'Authorization: Bearer TOKEN'; `aar serve` and `aar start` print the file of the operator's token"
_PEOPLE_REMEDY = "Log in at /login, or send the operator's or the viewer's token as a bearer token"
_bearer = HTTPBearer(
    auto_error=False, description="A researcher's own token, or the operator's; the viewer's only reads"
)


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who may act; ``name`` is from the login, else plain ``operator``."""

    name: str = "operator"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person who may read."""

    name: str = "viewer"


@dataclass(frozen=True, slots=True)
class ResearcherIdentity:
    """A researcher, by its own token; ``outside`` is True for an external one."""

    researcher_id: str
    outside: bool = False

    @property
    def campaign_id(self) -> str:
        """Returns the one campaign in which it may write."""
        return self.researcher_id.rpartition("-")[0]

    @property
    def name(self) -> str:
        """Returns the name under which it writes."""
        return self.researcher_id.rpartition("-")[2]


Identity = Operator | ResearcherIdentity
CSRF_HEADER = "x-csrf-token"
_WHO = "aar.who"
_AUTHENTICATED = "aar.authenticated"


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The authentication result of a request.

    Args:
        identity: the owner of its token or login; None for an unknown client.
        key: the rate-limit key of this token or login; empty for an unknown client.
        wrong_token: True if it carries an unknown token.
        login: the login of its cookie, if the cookie authenticates it.
    """

    identity: Identity | Viewer | None = None
    key: str = ""
    wrong_token: bool = False
    login: Login | None = None

    @property
    def audience(self) -> Audience:
        """Returns the audience as which it reads."""
        match self.identity:
            case Operator():
                return Audience.OPERATOR
            case Viewer():
                return Audience.VIEWER
            case ResearcherIdentity(outside=outside):
                return Audience.GUEST if outside else Audience.RESEARCHER
            case None:
                return Audience.NOBODY


def identity_of_token(shared: AppState, token: str) -> Identity | Viewer:
    """Returns the owner of a token. Raises Unauthorized."""
    role = role_of_token(shared, token)
    if role is not None:
        return Operator() if role == "operator" else Viewer()
    try:
        holder = shared.read(lambda session: find_token_holder(session, token))
    except Forbidden as error:
        raise Unauthorized("unknown token", _REMEDY) from error
    return ResearcherIdentity(holder.researcher_id, holder.outside)


async def authenticate(shared: AppState, request: Request) -> Authenticated:
    """Authenticates a request by its token, else by its cookie."""
    token = _token(request)
    if token is not None:
        try:
            if role_of_token(shared, token) is not None:
                identity = identity_of_token(shared, token)
            else:  # a researcher's token needs the database, hence a thread
                identity = await anyio.to_thread.run_sync(
                    identity_of_token, shared, token, limiter=shared.token_lookups
                )
        except Unauthorized:
            return Authenticated(wrong_token=True)
        return Authenticated(identity, token_key(token))
    login = current_login(shared, request)
    if login is None:
        return Authenticated()
    who = Operator(login.name) if login.is_operator else Viewer(login.name)
    return Authenticated(who, f"login {login.nonce}", login=login)


def token_key(token: str) -> str:
    """Returns a token's rate-limit key, which does not reveal the token."""
    return "token " + hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:32]


def store_authenticated(scope: Scope, client: Authenticated) -> None:
    """Stores the authentication result with a request, for all its handlers."""
    scope[_AUTHENTICATED] = client


def get_authenticated(scope: Scope) -> Authenticated:
    """Returns the authentication result of a request; before authentication, that of an unknown client."""
    client = scope.get(_AUTHENTICATED)
    return client if isinstance(client, Authenticated) else Authenticated()


def role_of_token(shared: AppState, token: str) -> Role | None:
    """Returns operator or viewer for their tokens, in constant time; else None."""
    given = token.encode("utf-8", "replace")
    operator = hmac.compare_digest(given, shared.operator_token.encode())
    viewer = hmac.compare_digest(given, shared.viewer_token.encode())
    return "operator" if operator else "viewer" if viewer else None


def client_address(request: Request) -> str:
    """Returns the client's address, for rate limits; empty if it is unknown."""
    return request.client.host if request.client else ""


def current_login(shared: AppState, request: Request) -> Login | None:
    """Returns the login of the browser's cookie; None without one."""
    return shared.sessions.find_login(request.cookies.get(SESSION_COOKIE, ""))


async def require_writer(
    shared: AppStateDep,
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    """Returns the identity of a request that writes. Raises Unauthorized, Forbidden."""
    if credentials is not None:
        identity = get_authenticated(request.scope).identity
        if identity is None:
            raise Unauthorized("unknown token", _REMEDY)
        return record_requester(request, identity)
    login = current_login(shared, request)
    if login is None:
        raise Unauthorized("writing needs a token", _REMEDY)
    return require_form_writer(shared, request, login, request.headers.get(CSRF_HEADER, ""))


def require_form_writer(shared: AppState, request: Request, login: Login, csrf: str) -> Operator:
    """Returns the operator of a form with a valid CSRF token. Raises Forbidden.

    A page's script may send the token too.
    """
    if not shared.sessions.is_csrf(login, csrf):
        raise Forbidden("form expired or belongs to another session", "Open the page again and repeat")
    identity = record_requester(request, Operator(login.name) if login.is_operator else Viewer(login.name))
    assert isinstance(identity, Operator)
    return identity


def record_requester(request: Request, identity: Identity | Viewer) -> Identity:
    """Records the identity for the audit log. Raises Forbidden for a viewer."""
    name = identity.researcher_id if isinstance(identity, ResearcherIdentity) else identity.name
    set_requester(request, type(identity).__name__.removesuffix("Identity").lower(), name)
    if isinstance(identity, Viewer):
        raise Forbidden("viewers cannot write", "Log in with the operator's token, or send it")
    return identity


def set_requester(request: Request, role: str, name: str) -> None:
    """Records the writer of a request for the audit log."""
    request.scope[_WHO] = f"{role} {name}"


def get_requester(scope: Scope) -> str:
    """Returns the writer of a request, for the audit log; empty if unknown."""
    return str(scope.get(_WHO, ""))


async def require_operator(identity: Annotated[Identity, Depends(require_writer)]) -> Operator:
    """Returns the operator. Raises Unauthorized, Forbidden for all others."""
    if not isinstance(identity, Operator):
        raise Forbidden("only the operator may do this", "Use the operator's token")
    return identity


async def require_person(request: Request) -> Operator | Viewer:
    """Returns the person who reads data for people only.

    Raises:
        Unauthorized: there is no login, or the token is unknown.
        Forbidden: the token is a researcher's.
    """
    identity = get_authenticated(request.scope).identity
    if identity is None:
        raise Unauthorized("only people may read this", _PEOPLE_REMEDY)
    if isinstance(identity, ResearcherIdentity):
        raise Forbidden("researchers may not read this", "Ask the people who run the campaign")
    return identity


async def audience_of(request: Request) -> Audience:
    """Returns the audience as which a client reads."""
    return get_authenticated(request.scope).audience


WriterDep = Annotated[Identity, Depends(require_writer)]
PersonDep = Annotated[Operator | Viewer, Depends(require_person)]
AudienceDep = Annotated[Audience, Depends(audience_of)]
OperatorDep = Annotated[Operator, Depends(require_operator)]


def human_name(name: str) -> str:
    """Returns a person's name as shown beside their texts.

    No researcher can have such a name.
    """
    return f"human:{name.strip()}"


def resolve_author(identity: Identity, campaign_id: str, claimed: str | None) -> Author:
    """Returns the author of a write.

    A researcher writes as itself, the operator under the given name.

    Raises:
        Forbidden: a researcher writes in another campaign, or under another name.
    """
    if isinstance(identity, Operator):
        return Author(human_name(claimed or identity.name), None)
    if identity.campaign_id != campaign_id:
        raise Forbidden(f"this token writes in campaign {identity.campaign_id} only", "Use that campaign's address")
    if claimed not in (None, identity.name):
        raise Forbidden(f"this token writes as {identity.name} only", "Leave the author out")
    return Author(identity.name, identity.researcher_id)


async def may_read(shared: AppState, client: Authenticated) -> bool:
    """Returns True if a client may read at all.

    On loopback every client may read unless it carries a wrong token. While an external researcher is invited, unknown
    clients may not: one could be that researcher. Beyond loopback only people may read.
    """
    if client.audience.is_person:
        return True
    if not shared.open_reading or client.wrong_token:
        return False
    return client.identity is not None or not await shared.db.read(has_external_researchers)


def _token(request: Request) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic" or request.method not in ("GET", "HEAD"):
        return None
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """A logged-in person.

    Args:
        csrf: the CSRF token of their forms.
    """

    login: Login
    csrf: str
    sessions: SessionStore

    @property
    def name(self) -> str:
        """Returns the name from the login."""
        return self.login.name

    @property
    def is_operator(self) -> bool:
        """Returns True if they may act."""
        return self.login.is_operator

    def take_note(self) -> str:
        """Removes and returns the result of their last form."""
        return self.sessions.take_note(self.login)


@dataclass(frozen=True, slots=True)
class PageRefresh:
    """A refresh of an open page: a role without a name or CSRF token.

    One rendering serves all watchers of a role, so it must not contain data of a single login.

    Args:
        role: None without a login.
    """

    role: Role | None

    @property
    def is_operator(self) -> bool:
        """Returns True if they may act."""
        return self.role == "operator"


SEEN_HEADER = "aar-seen"
"""Header in which an open page names the newest event that it must show, see ``aar.web.render_cache``."""


def is_refresh(request: Request) -> bool:
    """Returns True if an open page refreshes its live parts or chart data."""
    return request.method == "GET" and ("hx-request" in request.headers or SEEN_HEADER in request.headers)


_current: ContextVar[CurrentUser | PageRefresh | None] = ContextVar("aar_user", default=None)


@contextmanager
def current_user_scope(sessions: SessionStore, login: Login | None, *, refreshing: bool = False) -> Iterator[None]:
    """Sets ``current_user`` to the person of a login within the block.

    Args:
        refreshing: True if an open page refreshes its live parts; it is then a watcher and not a visitor.
    """
    user: CurrentUser | PageRefresh | None = None
    if refreshing:
        user = PageRefresh(None if login is None else login.role)
    elif login is not None:
        user = CurrentUser(login, sessions.csrf(login), sessions)
    token = _current.set(user)
    try:
        yield
    finally:
        _current.reset(token)


def current_user() -> CurrentUser | None:
    """Returns the logged-in person; None without a login, and during a refresh."""
    user = _current.get()
    return user if isinstance(user, CurrentUser) else None


def current_refresh() -> PageRefresh | None:
    """Returns the refresh of an open page; None if a whole page is requested."""
    user = _current.get()
    return user if isinstance(user, PageRefresh) else None
