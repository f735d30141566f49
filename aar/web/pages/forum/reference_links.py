"""Links of the references in forum texts."""

from __future__ import annotations

from collections.abc import Iterable

from aar.forum.references.reference_lookup import Reference
from aar.report.markdown_html import ReferenceLink
from aar.web.rendering import campaign_link, post_link, researcher_link, submission_link


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
