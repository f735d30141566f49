"""Logging in and out: the token is given once, in a form, and a cookie that ends by itself stands in for it."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from aar.errors import UsageError
from aar.web.auth import role_of
from aar.web.failures import Unauthorized
from aar.web.forms import fields_of
from aar.web.pages.render import render
from aar.web.sessions import COOKIE, SECONDS, Login
from aar.web.state import SharedDep
from aar.web.visitor import visitor

router = APIRouter()
_NAME = re.compile(r"[\w .-]{1,40}")
_WHO = "aar.who"


@router.get("/login")
def login_page(next: str = "/campaigns") -> Response:
    """The form."""
    return render("login.html", {"next": _own(next), "wrong": "", "name": ""})


@router.post("/login")
async def log_in(shared: SharedDep, request: Request) -> Response:
    """Take the token; the answer sets the cookie."""
    fields = await fields_of(request)
    name, where = fields.get("name", "").strip() or "operator", _own(fields.get("next", ""))
    role = role_of(shared, fields.get("token", "").strip())
    if not _NAME.fullmatch(name):
        wrong = "A name has 1 to 40 letters, digits, spaces, dots or dashes."
        return render("login.html", {"next": where, "wrong": wrong, "name": ""}, status=400)
    if role is None:
        said = {"next": where, "wrong": "Nobody gave out this token.", "name": name}
        return render("login.html", said, status=401)
    request.scope[_WHO] = f"{role} {name}"
    answer = RedirectResponse(where, 303)
    answer.set_cookie(
        COOKIE,
        shared.sessions.begin(role, name),
        max_age=SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def log_out(shared: SharedDep, request: Request) -> Response:
    """End the login, on this server also for whoever kept its cookie."""
    who = visitor()
    if who is None:
        raise Unauthorized("nobody is logged in here")
    _check(who.login, shared, (await fields_of(request)).get("csrf", ""))
    shared.sessions.end(who.login)
    request.scope[_WHO] = f"{who.login.role} {who.name}"
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _check(login: Login, shared: SharedDep, csrf: str) -> None:
    if not shared.sessions.is_csrf(login, csrf):
        raise UsageError("this form is not of a page that this login opened", "Open the page again and repeat")


def _own(where: str) -> str:
    """A place on this site; anything else becomes the list of campaigns."""
    return where if re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}", where) else "/campaigns"
