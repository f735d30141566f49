"""Form handlers of the forum: post, comment, vote, pin, end a claim.

Each works without JavaScript. An invalid form comes back as its own page with all its text, and errors beside the
fields. A form that is sent twice is stored once.
"""

from __future__ import annotations

from dataclasses import replace

import anyio.to_thread
from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.forum.claims import release_topic
from aar.forum.edits import pin
from aar.forum.posts import Author, cast_vote, create_comment, create_post
from aar.forum.search.near_duplicates import similar_to_post
from aar.text.sanitize import clean_line, clean_text
from aar.web.app_state import AppStateDep
from aar.web.pages.forum.form import (
    ForumForm,
    comment_errors,
    make_preview,
    parse_families,
    parse_submission_number,
    post_errors,
    readers_note,
)
from aar.web.pages.forum.threads import show_forum, show_thread
from aar.web.pages.signed_forms import SignedForm, SignedFormDep
from aar.web.rendering import campaign_link, post_link
from aar.web.request_params import CampaignId, Number, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}")


@router.post("/posts")
async def write_post(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Previews a post with its near-duplicates, or stores it and redirects to it."""
    values = {name: form.lines(name) for name in ("kind", "title", "body", "submission", "families")}
    once = form.text("once")

    def look(session: Session) -> ForumForm:
        own = find_campaign(session, campaign_id).id
        return make_preview(session, own, values, once, post_errors(session, own, values), values["title"])

    def write(session: Session) -> tuple[str, str] | ForumForm:
        view = find_campaign(session, campaign_id)
        own = view.id
        wrong = post_errors(session, own, values)
        if wrong:
            return ForumForm(values, once, wrong)
        about, labels = parse_submission_number(values["submission"]), parse_families(values["families"])
        made = create_post(
            session,
            own,
            form_author(form),
            kind=values["kind"],
            title=values["title"],
            body=values["body"],
            submission_number=about,
            families=labels,
            idempotency_key=once or None,
        )
        stored = (made.kind, made.title, made.body, made.submission_number, list(made.families))
        if stored != (values["kind"], clean_line(values["title"]), clean_text(values["body"]), about, labels):
            return _sent_before(values, f"#{made.id}")
        near = similar_to_post(session, own, made.id)
        where = post_link(own, made.id)
        if near:
            return f"{where}?similar=true", f"#{made.id} is on the forum, beside much the same"
        return where, f"#{made.id} is on the forum. {readers_note(view.state)}"

    done = await (shared.db.write(write) if form.text("action") == "post" else shared.db.read(look))
    if not isinstance(done, ForumForm):
        return form.redirect(*done)
    return await anyio.to_thread.run_sync(show_forum, shared, campaign_id, done)


@router.post("/posts/{post_id}")
async def write_comment(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """Previews a comment, or stores it and redirects to it."""
    values, once = {"body": form.lines("body")}, form.text("once")

    def look(session: Session) -> ForumForm:
        own = find_campaign(session, campaign_id).id
        return make_preview(session, own, values, once, comment_errors(session, own, values))

    def write(session: Session) -> tuple[str, str] | ForumForm:
        view = find_campaign(session, campaign_id)
        own = view.id
        wrong = comment_errors(session, own, values)
        if wrong:
            return ForumForm(values, once, wrong)
        made = create_comment(session, own, form_author(form), post_id, values["body"], idempotency_key=once or None)
        if (made.post_id, made.body) != (post_id, clean_text(values["body"])):
            return _sent_before(values, "a comment")
        return f"{post_link(own, post_id)}#comment-{made.id}", f"Your comment is stored. {readers_note(view.state)}"

    done = await (shared.db.write(write) if form.text("action") == "comment" else shared.db.read(look))
    if not isinstance(done, ForumForm):
        return form.redirect(*done)
    return await anyio.to_thread.run_sync(show_thread, shared, campaign_id, post_id, done)


@router.post("/posts/{post_id}/vote")
async def vote(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """Votes for or against a post; a second vote replaces the first."""
    value = {"1": 1, "-1": -1}.get(form.text("value"))
    if value is None:
        raise UsageError("invalid vote, expected up or down", "Use one of the buttons")

    def write(session: Session) -> str:
        own = find_campaign(session, campaign_id).id
        cast_vote(session, own, form_author(form), post_id, value)
        return own

    return form.redirect(post_link(await shared.db.write(write), post_id), "Your vote counts")


@router.post("/posts/{post_id}/pin")
async def pin_post(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """Pins a post above all others, or unpins it."""
    pinned = form.text("pinned") == "yes"

    def write(session: Session) -> str:
        own = find_campaign(session, campaign_id).id
        pin(session, own, form_author(form), post_id, pinned=pinned)
        return own

    said = f"#{post_id} is pinned" if pinned else f"#{post_id} is no longer pinned"
    return form.redirect(post_link(await shared.db.write(write), post_id), said)


@router.post("/claims/{claim_id}/release")
async def end_claim(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, claim_id: Number) -> Response:
    """Ends a researcher's claim."""

    def write(session: Session) -> tuple[str, str]:
        own = find_campaign(session, campaign_id).id
        claim = release_topic(session, own, form_author(form), claim_id)
        return own, f"{claim.author} no longer claims {claim.topic}"

    found, said = await shared.db.write(write)
    return form.redirect(f"{campaign_link(found)}/posts", said)


def form_author(form: SignedForm) -> Author:
    """Returns the person who sent a form, as an author."""
    return Author(form.by, None)


def _sent_before(values: dict[str, str], what: str) -> ForumForm:
    """Returns a stored form that was changed since, as a new form.

    The changes are neither lost nor stored without a request.
    """
    said = f"This form was sent before and is {what}; your later changes are not stored. Send it again to add them"
    return replace(ForumForm(values), wrong={"": said})
