"""Forum form state: typed text, errors by field, and preview."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from aar.errors import AarError
from aar.families import FAMILIES, validate_families
from aar.forum.figures import validate_text_with_figures
from aar.forum.markdown import ReferenceLink
from aar.forum.posts import check_kind
from aar.forum.references import Reference, known_references
from aar.forum.search import SimilarPost, similar_posts
from aar.forum.views import MAX_BODY, MAX_COMMENT, MAX_FAMILIES, MAX_REASON, MAX_TITLE
from aar.scoring.submissions import get_submission
from aar.text import parse_submission_number, validate_text
from aar.web.rendering import campaign_link, post_link, researcher_link, submission_link

FIELD_LABELS = {
    "kind": "Kind",
    "title": "Title",
    "body": "Text",
    "submission": "Submission",
    "families": "Ideas",
    "reason": "Reason",
}
"""Labels of the fields, for the list of errors on top of a form."""
POST_FIELDS = ("kind", "title", "body", "submission", "families")
EDIT_FIELDS = ("title", "body", "families")
FAMILIES_HINT = f"Optional: families, at most {MAX_FAMILIES}, such as {', '.join(FAMILIES[:MAX_FAMILIES])}"


def readers_note(state: str) -> str:
    """Returns a note on the readers of new text, by the campaign's state."""
    if state == "finished":
        return "The campaign is over: no researcher reads it any more"
    return "Researchers read it at their next turn, marked as a person's"


def field_max_length(limit: int) -> int:
    """Returns a ``maxlength`` with which browsers cut no text silently.

    Browsers count UTF-16 units, of which a character takes one or two, and cut pasted text silently. Text within the
    limit fits in twice as many units, and text that is cut at one more character than that is still refused.
    """
    return 2 * limit + 2


@dataclass(frozen=True, slots=True)
class ForumForm:
    """A form of the forum.

    Args:
        values: the fields as they were typed.
        key: of this form: sent twice, it is stored once.
        errors: by field; the empty name is for the form as a whole.
        previewed: True shows a preview.
        links: targets of its references.
        similar: near-duplicate posts.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    errors: Mapping[str, str] = field(default_factory=dict)
    previewed: bool = False
    links: Mapping[str, ReferenceLink] = field(default_factory=dict)
    similar: tuple[SimilarPost, ...] = ()

    @property
    def was_sent(self) -> bool:
        """Returns True if the form was sent before."""
        return self.previewed or bool(self.errors)

    @property
    def status(self) -> int:
        """Returns the HTTP status of the page that shows it."""
        return 422 if self.errors else 200

    def value(self, name: str) -> str:
        """Returns a field as typed."""
        return self.values.get(name, "")


def post_errors(
    session: Session, campaign_id: str, values: Mapping[str, str], fields: Iterable[str] = POST_FIELDS
) -> dict[str, str]:
    """Checks the fields of a post; returns errors by field."""

    def submission() -> object:
        number = optional_submission_number(values.get("submission", ""))
        return None if number is None else get_submission(session, campaign_id, number)

    checks: dict[str, Callable[[], object]] = {
        "kind": lambda: check_kind(values.get("kind", "")),
        "title": lambda: validate_text("title", values.get("title", ""), MAX_TITLE, one_line=True),
        "body": lambda: validate_text_with_figures(session, campaign_id, "text", values.get("body", ""), MAX_BODY),
        "submission": submission,
        "families": lambda: parse_families(values.get("families", "")),
    }
    return _collect_errors({name: checks[name] for name in fields})


def comment_errors(session: Session, campaign_id: str, values: Mapping[str, str]) -> dict[str, str]:
    """Checks a comment; returns errors by field."""
    return _collect_errors(
        {
            "body": lambda: validate_text_with_figures(
                session, campaign_id, "comment", values.get("body", ""), MAX_COMMENT
            )
        }
    )


def reason_errors(values: Mapping[str, str]) -> dict[str, str]:
    """Checks the reason of a retraction; returns errors by field."""
    return _collect_errors(
        {"reason": lambda: validate_text("reason", values.get("reason", ""), MAX_REASON, one_line=True)}
    )


def optional_submission_number(text: str) -> int | None:
    """Parses ``s7`` or ``7``; None for empty text or ``s`` alone. Raises UsageError."""
    return parse_submission_number(text) if text.strip() not in ("", "s") else None


def parse_families(text: str) -> list[str]:
    """Parses families separated by commas. Raises UsageError."""
    return validate_families(filter(None, (word.strip() for word in text.split(","))), MAX_FAMILIES)


def make_preview(
    session: Session, campaign_id: str, values: Mapping[str, str], key: str, errors: Mapping[str, str], title: str = ""
) -> ForumForm:
    """Previews a text; with a title, also finds near-duplicate posts."""
    links = reference_links(campaign_id, known_references(session, campaign_id, [values.get("body", "")]))
    similar = similar_posts(session, campaign_id, title, values.get("body", "")) if title and not errors else []
    return ForumForm(values, key, errors, previewed="body" not in errors, links=links, similar=tuple(similar))


def _collect_errors(checks: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    errors: dict[str, str] = {}
    for name, check in checks.items():
        try:
            check()
        except AarError as error:
            text = f"{error.message}. {error.remedy}" if error.remedy else error.message
            errors[name] = text[:1].upper() + text[1:]
    return errors


def reference_links(campaign_id: str, known: Iterable[Reference]) -> dict[str, ReferenceLink]:
    """Returns link targets by reference, as written in the text."""
    return {each.written: ReferenceLink(_page(campaign_id, each), each.title, each.status, each.size) for each in known}


def _page(campaign_id: str, each: Reference) -> str:
    if each.kind == "post":
        return post_link(campaign_id, int(each.key))
    if each.kind == "submission":
        return submission_link(campaign_id, int(each.key))
    if each.kind == "figure":
        return f"/api/v1{campaign_link(campaign_id)}/figures/{each.key}"
    return researcher_link(campaign_id, str(each.key))
