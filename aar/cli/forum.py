"""``aar forum``: read and search the forum, or write to it as a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from aar.campaign.views import CampaignView, get_researcher
from aar.cli.context import LATEST, CampaignOption, author_name, open_context
from aar.cli.options import MAX_INTEGER, DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, print_table
from aar.errors import UsageError
from aar.forum.authors import Author
from aar.forum.claims import active_claims, release_topic
from aar.forum.edits import edit_comment, edit_post, list_revisions
from aar.forum.edits import pin as pin_post
from aar.forum.edits import retract as retract_post
from aar.forum.figures import MAX_FIGURE_BYTES, NewFigure, inspect_figure
from aar.forum.markdown import FIGURE_DIGITS, parse_markdown
from aar.forum.posts import create_comment, create_post, get_thread
from aar.forum.search import PostFilter, duplicate_warning, list_posts, similar_to_post
from aar.forum.search import full_text_search as find
from aar.forum.views import CommentView, PostView
from aar.readmodels.formatting import format_datetime, format_signed
from aar.text import clean_line, clean_text, parse_post_number, parse_submission_number

PostId = Annotated[str, typer.Argument(metavar="POST", help="Number of the post: `12` or `#12`.")]
Name = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; default your login.")]
CommentId = Annotated[
    int | None,
    typer.Option(
        "--comment", metavar="ID", min=1, max=MAX_INTEGER, help="A comment on the post instead of the post itself."
    ),
]
Body = Annotated[
    str | None,
    typer.Argument(metavar="TEXT", help="Markdown; default or `-`: read from standard input.", show_default=False),
]
Families = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="FAMILY",
        help="Family of the idea, such as ensemble; may be given three times.",
        show_default=False,
    ),
]
OneFamily = Annotated[
    str | None, typer.Option("--family", metavar="FAMILY", help="Only posts labelled with it, such as ensemble.")
]
Figures = Annotated[
    list[Path] | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="An image to show; where the text has ![..](FILE), else at its end. May be given several times.",
        show_default=False,
    ),
]
_Kind = Annotated[str, typer.Option("--kind", "-k", help="hypothesis, result, insight, error or question.")]


def list_(
    campaign: CampaignOption = LATEST,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only posts of this kind.")] = None,
    family: OneFamily = None,
    researcher: Annotated[str | None, typer.Option("--researcher", "-r", help="Only this one's, such as r2.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Rows to show.")] = 30,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List posts, newest first."""
    with _forum(database, campaign) as (view, session):
        by = None if researcher is None else get_researcher(session, view.id, researcher).id
        only = PostFilter(kind, family=family, researcher_id=by, retracted=True)
        posts = list_posts(session, view.id, only=only, limit=limit, newest_first=True)
    _print(posts, json, empty="There is no post yet.")


def search(
    words: Annotated[list[str], typer.Argument(help="Words to search for in titles, bodies and comments.")],
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only posts of this kind.")] = None,
    family: OneFamily = None,
    author: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only this author's: r2, ana.")] = None,
    submission: Annotated[
        str | None, typer.Option("--cites", metavar="SUBMISSION", help="Only posts about or citing it, such as s7.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Written at that time or later, in your time zone.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Written before that time.")] = None,
    retracted: Annotated[bool, typer.Option("--retracted", help="Also retracted posts and comments.")] = False,
    campaign: CampaignOption = LATEST,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Rows to show.")] = 20,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Search posts and comments, best match first."""
    cited = None if submission is None else parse_submission_number(submission)
    only = PostFilter(
        kind, author, cited, since and since.astimezone(), until and until.astimezone(), retracted, family
    )
    with _forum(database, campaign) as (view, session):
        posts = find(session, view.id, " ".join(words), limit=limit, only=only)
    _print(posts, json, empty="No post contains these words.")


def show(
    post: PostId,
    past: Annotated[bool, typer.Option("--history", help="Show former versions instead, oldest first.")] = False,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Show a post with its comments, or with --history their former versions."""
    post_id = parse_post_number(post)
    with _forum(database, campaign) as (view, session):
        thread = get_thread(session, view.id, post_id)
        former = list_revisions(session, view.id, post_id)
    if json:
        print_json(former if past else thread)
        return
    out, first = make_console(), thread.post
    if past:
        for each in former:
            what = "post" if each.comment_id is None else f"comment {each.comment_id}"
            out.print(f"{what} until {format_datetime(each.at)}, edited by {clean_line(each.by)}", style="dim")
            out.print(f"{clean_line(each.title)}\n{clean_text(each.body)}\n".lstrip(), soft_wrap=True)
        return
    about = f", about s{first.submission_number}" if first.submission_number is not None else ""
    cites = ", ".join(f"s{each.number} {each.status}" for each in first.cites)
    out.print(f"#{first.id} {clean_line(first.title)}", style="bold")
    out.print(
        f"{first.kind} by {clean_line(first.author)}, {format_datetime(first.created_at)}, votes "
        f"{format_signed(first.score)}{about}"
        f"{', pinned' if first.pinned else ''}{_edit_notes(first)}",
        style="dim",
    )
    if first.families:
        out.print(f"families {', '.join(first.families)}", style="dim")
    if cites:
        out.print(f"cites {cites}", style="dim")
    refers = ", ".join(f"#{each.id} {each.status}".strip() for each in first.refers)
    if refers:
        out.print(f"refers to {refers}", style="dim")
    out.print(f"\n{clean_text(first.body)}", soft_wrap=True)
    for comment in thread.comments:
        out.print(
            f"\n{clean_line(comment.author)}, {format_datetime(comment.created_at)}{_edit_notes(comment)}", style="dim"
        )
        out.print(clean_text(comment.body), soft_wrap=True)


def post(
    title: Annotated[str, typer.Argument(help="One line.")],
    body: Body = None,
    kind: _Kind = "insight",
    family: Families = None,
    figure: Figures = None,
    name: Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Write a post; every researcher reads it, marked as written by a person."""
    author = Author(author_name(name), None)
    text, figures = attach_figures(read_text(body), figure)
    with _forum(database, campaign, write=True) as (view, session):
        made = create_post(
            session, view.id, author, kind=kind, title=title, body=text, families=family or (), figures=figures
        )
        similar = similar_to_post(session, view.id, made.id)
    if json:
        print_json(made)
    else:
        print(f"posted #{made.id} in {view.id} as {made.author}")
        if similar:
            print(clean_line(duplicate_warning(similar)))


def comment(
    post: PostId,
    body: Body = None,
    figure: Figures = None,
    name: Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Comment on a post; its author reads it, marked as written by a person."""
    author, post_id = Author(author_name(name), None), parse_post_number(post)
    text, figures = attach_figures(read_text(body), figure)
    with _forum(database, campaign, write=True) as (view, session):
        made = create_comment(session, view.id, author, post_id, text, figures=figures)
    if json:
        print_json(made)
    else:
        print(f"commented on #{post_id} in {view.id} as {made.author}")


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
    text = None if body is None and comment is None and (title, family) != (None, None) else read_text(body)
    with _forum(database, campaign, write=True) as (view, session):
        if comment is None:
            edit_post(session, view.id, author, post_id, title=title, body=text, families=family)
        else:
            edit_comment(session, view.id, author, post_id, comment, text or "")
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
    with _forum(database, campaign, write=True) as (view, session):
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
    with _forum(database, campaign, write=True) as (view, session):
        pin_post(session, view.id, author, post_id, pinned=not off)
    print(f"{'unpinned' if off else 'pinned'} #{post_id} in {view.id} as {author.name}")


def claims(campaign: CampaignOption = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """List claimed topics: author, end and topic of each claim."""
    with _forum(database, campaign) as (view, session):
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
    with _forum(database, campaign, write=True) as (view, session):
        ended = release_topic(session, view.id, author, claim)
    print(f"claim {ended.id} of {ended.author} ended")


@contextmanager
def _forum(database: str | None, campaign: str, *, write: bool = False) -> Iterator[tuple[CampaignView, Session]]:
    """Open a campaign with a session of its database."""
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() if write else context.database.reading() as session:
            yield view, session


def attach_figures(text: str, files: list[Path] | None) -> tuple[str, dict[str, NewFigure]]:
    """Return the text with every file shown in it, and the figures by path.

    The paths are those that the text uses.

    Raises:
        UsageError: a file cannot be read, is too large, or is not an image; the message names it.
    """
    figures: dict[str, NewFigure] = {}
    for file in files or ():
        path, figure = str(file), inspect_figure(str(file), _content(file))
        if path not in parse_markdown(text).image_paths:
            path = f"attached-{figure.digest[:FIGURE_DIGITS]}"
            text = f"{text.rstrip()}\n\n![{_caption(file)}]({path})\n"
        figures[path] = figure
    return text, figures


def read_text(body: str | None) -> str:
    """Return the given text, or read it from standard input."""
    return sys.stdin.read() if body in (None, "-") else str(body)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FIGURE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"figure cannot be read: got {str(file)!r}, {error.strerror or error}", "Name an image file"
        ) from error


def _caption(file: Path) -> str:
    return "".join(" " if sign in "[]\\`" else sign for sign in file.stem)


def _edit_notes(item: PostView | CommentView) -> str:
    edited = "" if item.edited_at is None else f", edited {format_datetime(item.edited_at)}"
    if item.retracted_at is None:
        return edited
    return f"{edited}\nRETRACTED {format_datetime(item.retracted_at)}: {clean_line(item.retraction)}"


def _print(posts: list[PostView], json: bool, *, empty: str) -> None:
    if json:
        print_json(posts)
        return
    made = make_table("", "kind", "by", "at", "votes", "replies", "title", "cites", right=("votes", "replies"))
    for each in posts:
        made.add_row(
            f"#{each.id}",
            each.kind,
            clean_line(each.author),
            format_datetime(each.created_at),
            format_signed(each.score),
            str(each.comments),
            ("RETRACTED " if each.retracted_at else "") + clean_line(each.title),
            ", ".join(f"s{cited.number} {cited.status}" for cited in each.cites),
        )
    print_table(made, empty=empty)
