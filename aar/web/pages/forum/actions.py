"""Form handlers of the forum: post, comment, edit, retract, vote, pin, end a claim.

Each works without JavaScript. An invalid form comes back as its own page with all its text, and errors beside the
fields. A form that is sent twice is stored once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import anyio.to_thread
from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from aar.errors import NotFound, UsageError
from aar.forum.authors import Author
from aar.forum.claims import release_topic
from aar.forum.edits import edit_comment, edit_post, pin, retract
from aar.forum.posts import cast_vote, comment_views, create_comment, create_post, find_post
from aar.forum.search import similar_to_post
from aar.forum.views import MAX_BODY, MAX_COMMENT, MAX_REASON, MAX_TITLE, CommentView, PostView
from aar.store.event_log import latest_event_id
from aar.text import clean_line, clean_text
from aar.web.app_state import AppState, AppStateDep
from aar.web.pages.forum.form import (
    EDIT_FIELDS,
    POST_FIELDS,
    ForumForm,
    comment_errors,
    make_preview,
    optional_submission_number,
    parse_families,
    post_errors,
    readers_note,
    reason_errors,
)
from aar.web.pages.forum.threads import FORM_CONTEXT, show_forum, show_thread
from aar.web.pages.signed_forms import SignedForm, SignedFormDep
from aar.web.rendering import campaign_link, post_link, render_page
from aar.web.request_params import CampaignId, Number, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}")


@router.post("/posts")
async def write_post(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId) -> Response:
    """Previews a post with its near-duplicates, or stores it and redirects to it."""
    values = {name: form.lines(name) for name in POST_FIELDS}
    key = form.text("once")

    def preview(session: Session) -> ForumForm:
        own = find_campaign(session, campaign_id).id
        return make_preview(session, own, values, key, post_errors(session, own, values), values["title"])

    def write(session: Session) -> tuple[str, str] | ForumForm:
        view = find_campaign(session, campaign_id)
        own = view.id
        errors = post_errors(session, own, values)
        if errors:
            return ForumForm(values, key, errors)
        about, labels = optional_submission_number(values["submission"]), parse_families(values["families"])
        made = create_post(
            session,
            own,
            form_author(form),
            kind=values["kind"],
            title=values["title"],
            body=values["body"],
            submission_number=about,
            families=labels,
            idempotency_key=key or None,
        )
        stored = (made.kind, made.title, made.body, made.submission_number, list(made.families))
        if stored != (values["kind"], clean_line(values["title"]), clean_text(values["body"]), about, labels):
            return _sent_before(values, f"#{made.id}")
        similar = similar_to_post(session, own, made.id)
        where = post_link(own, made.id)
        if similar:
            return f"{where}?similar=true", f"#{made.id} is on the forum, beside much the same"
        return where, f"#{made.id} is on the forum. {readers_note(view.state)}"

    done = await (shared.db.write(write) if form.text("action") == "post" else shared.db.read(preview))
    if not isinstance(done, ForumForm):
        return form.redirect(*done)
    return await anyio.to_thread.run_sync(show_forum, shared, campaign_id, done)


@router.post("/posts/{post_id}")
async def write_comment(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """Previews a comment, or stores it and redirects to it."""
    values, key = {"body": form.lines("body")}, form.text("once")

    def preview(session: Session) -> ForumForm:
        own = find_campaign(session, campaign_id).id
        return make_preview(session, own, values, key, comment_errors(session, own, values))

    def write(session: Session) -> tuple[str, str] | ForumForm:
        view = find_campaign(session, campaign_id)
        own = view.id
        errors = comment_errors(session, own, values)
        if errors:
            return ForumForm(values, key, errors)
        made = create_comment(session, own, form_author(form), post_id, values["body"], idempotency_key=key or None)
        if (made.post_id, made.body) != (post_id, clean_text(values["body"])):
            return _sent_before(values, "a comment")
        return f"{post_link(own, post_id)}#comment-{made.id}", f"Your comment is stored. {readers_note(view.state)}"

    done = await (shared.db.write(write) if form.text("action") == "comment" else shared.db.read(preview))
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

    message = f"#{post_id} is pinned" if pinned else f"#{post_id} is no longer pinned"
    return form.redirect(post_link(await shared.db.write(write), post_id), message)


@router.post("/claims/{claim_id}/release")
async def end_claim(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, claim_id: Number) -> Response:
    """Ends a researcher's claim."""

    def write(session: Session) -> tuple[str, str]:
        own = find_campaign(session, campaign_id).id
        claim = release_topic(session, own, form_author(form), claim_id)
        return own, f"{claim.author} no longer claims {claim.topic}"

    found, message = await shared.db.write(write)
    return form.redirect(f"{campaign_link(found)}/posts", message)


def form_author(form: SignedForm) -> Author:
    """Returns the person who sent a form, as an author."""
    return Author(form.by, None)


def _sent_before(values: dict[str, str], what: str) -> ForumForm:
    """Returns a stored form that was changed since, as a new form.

    The changes are neither lost nor stored without a request.
    """
    message = f"This form was sent before and is {what}; your later changes are not stored. Send it again to add them"
    return replace(ForumForm(values), errors={"": message})


@dataclass(frozen=True, slots=True)
class EditTarget:
    """A post or a comment to edit."""

    post: PostView
    comment: CommentView | None

    @property
    def current(self) -> PostView | CommentView:
        """Returns the post or comment itself."""
        return self.comment or self.post

    @property
    def address(self) -> str:
        """Returns the address that shows it."""
        page = post_link(self.post.campaign_id, self.post.id)
        return page if self.comment is None else f"{page}#comment-{self.comment.id}"

    @property
    def values(self) -> dict[str, str]:
        """Returns the fields of its form; ``seen`` detects concurrent edits."""
        seen = "" if self.current.edited_at is None else self.current.edited_at.isoformat()
        if self.comment:
            return {"body": self.current.body, "seen": seen}
        labels = ", ".join(self.post.families)  # a change of labels alone is not a text edit
        return {"title": self.post.title, "families": labels, "body": self.current.body, "seen": f"{seen} {labels}"}

    def is_unchanged(self, values: Mapping[str, str]) -> bool:
        """Returns True if the fields equal the stored text."""
        same = self.current.body == clean_text(values["body"])
        if self.comment is not None:
            return same
        labels = parse_families(values["families"])
        return same and self.post.title == clean_line(values["title"]) and labels == list(self.post.families)

    def errors(self, session: Session, values: Mapping[str, str]) -> dict[str, str]:
        """Checks new text; reports an edit conflict if another edit was not shown."""
        if self.current.retracted_at is not None:
            return {"": "It was retracted, so it cannot change"}
        if self.comment is None:
            errors = post_errors(session, self.post.campaign_id, values, EDIT_FIELDS)
        else:
            errors = comment_errors(session, self.post.campaign_id, values)
        if not errors and values["seen"] != self.values["seen"] and not self.is_unchanged(values):
            errors[""] = "Somebody changed it while you wrote; it is shown below. Save again to write over that"
        return errors

    def values_for_redisplay(self, values: Mapping[str, str], errors: Mapping[str, str]) -> dict[str, str]:
        """Returns form values for redisplay.

        After an edit conflict was shown, the newest version counts as seen.
        """
        return {**values, "seen": self.values["seen"]} if "" in errors else dict(values)


@router.get("/posts/{post_id}/edit")
def post_form(shared: AppStateDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """Shows the form to edit or retract a post."""
    return _show(shared, campaign_id, post_id, None, None)


@router.post("/posts/{post_id}/edit")
async def change_post(shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """Previews the edit of a post, stores it, or retracts the post."""
    return await _change(shared, form, campaign_id, post_id, None)


@router.get("/comments/{comment_id}/edit")
def comment_form(shared: AppStateDep, campaign_id: CampaignId, comment_id: Number) -> Response:
    """Shows the form to edit or retract a comment."""
    return _show(shared, campaign_id, None, comment_id, None)


@router.post("/comments/{comment_id}/edit")
async def change_comment(
    shared: AppStateDep, form: SignedFormDep, campaign_id: CampaignId, comment_id: Number
) -> Response:
    """Previews the edit of a comment, stores it, or retracts the comment."""
    return await _change(shared, form, campaign_id, None, comment_id)


async def _change(
    shared: AppState, form: SignedForm, campaign_id: str, post_id: int | None, comment_id: int | None
) -> Response:
    values = {name: form.lines(name) for name in ("title", "body", "families", "seen", "reason")}
    action = form.text("action")

    def preview(session: Session) -> ForumForm:
        own = find_campaign(session, campaign_id).id
        target = _find_target(session, own, post_id, comment_id)
        errors = target.errors(session, values)
        return make_preview(session, own, target.values_for_redisplay(values, errors), "", errors)

    def write(session: Session) -> tuple[str, str] | ForumForm:
        own = find_campaign(session, campaign_id).id
        target = _find_target(session, own, post_id, comment_id)
        if action == "retract":
            errors = reason_errors(values)
            if errors:
                return ForumForm(target.values | {"reason": values["reason"]}, errors=errors)
            retract(session, own, form_author(form), target.post.id, values["reason"], comment_id=comment_id)
            return target.address, "It is retracted; it stays readable"
        errors = target.errors(session, values)
        if errors:
            return ForumForm(target.values_for_redisplay(values, errors), errors=errors)
        if target.comment is None:
            labels = parse_families(values["families"])
            edit_post(
                session,
                own,
                form_author(form),
                target.post.id,
                title=values["title"],
                body=values["body"],
                families=labels,
            )
        else:
            edit_comment(session, own, form_author(form), target.post.id, target.comment.id, values["body"])
        return target.address, "It is changed; the former text is below it"

    done = await (shared.db.write(write) if action in ("save", "retract") else shared.db.read(preview))
    if not isinstance(done, ForumForm):
        return form.redirect(*done)
    return await anyio.to_thread.run_sync(_show, shared, campaign_id, post_id, comment_id, done)


def _find_target(session: Session, campaign_id: str, post_id: int | None, comment_id: int | None) -> EditTarget:
    if comment_id is None:
        return EditTarget(find_post(session, campaign_id, post_id or 0), None)
    for comment in comment_views(session, campaign_id, [comment_id]):
        return EditTarget(find_post(session, campaign_id, comment.post_id), comment)
    raise NotFound(f"no comment {comment_id} in campaign {campaign_id!r}", "Follow a link on its post's page")


def _show(
    shared: AppState, campaign_id: str, post_id: int | None, comment_id: int | None, draft: ForumForm | None
) -> Response:
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        target = _find_target(session, view.id, post_id, comment_id)
    shown = draft or ForumForm(target.values)
    context = {"campaign": view, "cursor": cursor, "target": target, "draft": shown, "max_reason": MAX_REASON}
    context |= {"max_title": MAX_TITLE, "max_body": MAX_COMMENT if target.comment else MAX_BODY, **FORM_CONTEXT}
    return render_page("edit.html", context, status=shown.status)
