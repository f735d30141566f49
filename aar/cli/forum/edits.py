"""``aar forum edit``, ``retract``, ``pin``, ``claims``, ``release``: change what was posted."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.cli.context import LATEST, CampaignOption, author_name, open_context
from aar.cli.forum.options import Body, CommentId, Families, Name, PostId, parse_post_number, read_text
from aar.cli.options import MAX_INTEGER, DatabaseOption, JsonFlag
from aar.cli.output.formatting import clean_line, format_datetime
from aar.cli.output.printing import make_table, print_json, print_table
from aar.errors import UsageError
from aar.forum.claims import active_claims, release_topic
from aar.forum.edits import edit_comment, edit_post
from aar.forum.edits import pin as pin_post
from aar.forum.edits import retract as retract_post
from aar.forum.posts import Author


def edit(
    post: PostId,
    body: Body = None,
    title: Annotated[str | None, typer.Option("--title", help="A new title; given alone, the text stays.")] = None,
    family: Families = None,
    comment: CommentId = None,
    name: Name = None,
    campaign: CampaignOption = LATEST,
    database: DatabaseOption = None,
) -> None:
    """Edit a post or comment; its former version stays visible."""
    author, post_id = Author(author_name(name), None), parse_post_number(post)
    if comment is not None and family is not None:
        raise UsageError("comment cannot have families: got --family", "Leave --family out")
    said = None if body is None and comment is None and (title, family) != (None, None) else read_text(body)
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            if comment is None:
                edit_post(session, view.id, author, post_id, title=title, body=said, families=family)
            else:
                edit_comment(session, view.id, author, post_id, comment, said or "")
    print(f"edited #{post_id} in {view.id} as {author.name}; its former version stays visible")


def retract(
    post: PostId,
    reason: Annotated[str, typer.Argument(help="Why it is retracted.")],
    comment: CommentId = None,
    name: Name = None,
    campaign: CampaignOption = LATEST,
    database: DatabaseOption = None,
) -> None:
    """Retract a post or comment; it stays readable, marked, and leaves search results."""
    author, post_id = Author(author_name(name), None), parse_post_number(post)
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            retract_post(session, view.id, author, post_id, reason, comment_id=comment)
    print(f"retracted #{post_id} in {view.id} as {author.name}")


def pin(
    post: PostId,
    off: Annotated[bool, typer.Option("--off", help="Unpin it.")] = False,
    name: Name = None,
    campaign: CampaignOption = LATEST,
    database: DatabaseOption = None,
) -> None:
    """Pin a post above all others, for people and researchers."""
    author, post_id = Author(author_name(name), None), parse_post_number(post)
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            pin_post(session, view.id, author, post_id, pinned=not off)
    print(f"{'unpinned' if off else 'pinned'} #{post_id} in {view.id} as {author.name}")


def claims(campaign: CampaignOption = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """List claimed topics: author, end and topic of each claim."""
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            found = active_claims(session, view.id)
    if json:
        print_json(found)
        return
    made = make_table("claim", "by", "until", "works on")
    for each in found:
        made.add_row(str(each.id), clean_line(each.author), format_datetime(each.expires_at), clean_line(each.topic))
    print_table(made, empty="No active claims.")


def release(
    claim: Annotated[int, typer.Argument(min=1, max=MAX_INTEGER, help="Number of the claim; see `aar forum claims`.")],
    name: Name = None,
    campaign: CampaignOption = LATEST,
    database: DatabaseOption = None,
) -> None:
    """End a researcher's claim."""
    author = Author(author_name(name), None)
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            ended = release_topic(session, view.id, author, claim)
    print(f"claim {ended.id} of {ended.author} ended")


COMMANDS = (edit, retract, pin, claims, release)
"""In the order of the help."""
