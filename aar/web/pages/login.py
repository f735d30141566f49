"""Pages to log in and out.

The token is sent once, in a form; a cookie that expires replaces it.
"""

from __future__ import annotations

import re
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from aar.auth.sessions import LOGIN_LINK_PATH, SESSION_COOKIE, SESSION_SECONDS, Role
from aar.errors import Unauthorized, UsageError
from aar.text import is_person_name
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import client_address, current_user, role_of_token, set_requester
from aar.web.pages.signed_forms import read_form
from aar.web.rendering import render_page

router = APIRouter()


@router.get("/login")
def login_page(next: str = "/campaigns") -> Response:
    """Shows the form."""
    return render_page("login.html", {"next": _own(next), "wrong": "", "name": ""})


@router.post("/login")
async def log_in(shared: AppStateDep, request: Request) -> Response:
    """Checks the token and sets the cookie."""
    fields = await read_form(request)
    name, where = fields.get("name", "").strip() or "operator", _own(fields.get("next", ""))
    role = role_of_token(shared, fields.get("token", "").strip())
    if role is None:  # a valid token is never delayed: it has too many bits to be guessed
        shared.buckets.take("login", client_address(request), shared.rates.login)
    if not is_person_name(name):
        wrong = "A name has 1 to 40 letters, digits, spaces, dots or dashes."
        return render_page("login.html", {"next": where, "wrong": wrong, "name": ""}, status=400)
    if role is None:
        context = {"next": where, "wrong": "Unknown token.", "name": name}
        return render_page("login.html", context, status=401)
    return _logged_in(shared, request, role, name, where)


@router.get(LOGIN_LINK_PATH)
async def log_in_once(
    shared: AppStateDep, request: Request, code: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """Logs in with a one-time address printed by the server."""
    login = await anyio.to_thread.run_sync(shared.sessions.redeem_link, code)
    if login is None:
        shared.buckets.take("login", client_address(request), shared.rates.login)
        wrong = "This address has expired or was used already. Log in with the token."
        return render_page("login.html", {"next": "/", "wrong": wrong, "name": ""}, status=401)
    return _logged_in(shared, request, *login, "/")


def _logged_in(shared: AppState, request: Request, role: Role, name: str, where: str) -> Response:
    set_requester(request, role, name)
    answer = RedirectResponse(where, 303)
    answer.set_cookie(
        SESSION_COOKIE,
        shared.sessions.create_session(role, name),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def log_out(shared: AppStateDep, request: Request) -> Response:
    """Ends the login on this server, also for copies of its cookie."""
    user = current_user()
    if user is None:
        raise Unauthorized("you are not logged in")
    if not shared.sessions.is_csrf(user.login, (await read_form(request)).get("csrf", "")):
        raise UsageError("form expired or belongs to another session", "Open the page again and repeat")
    await anyio.to_thread.run_sync(shared.sessions.end_session, user.login)
    set_requester(request, user.login.role, user.name)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _own(where: str) -> str:
    """Returns a path on this site; anything else becomes the list of campaigns."""
    return where if re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}", where) else "/campaigns"
