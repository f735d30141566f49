"""``aar forum``: read what the team tells each other, and write to it as a person."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from aar.cli.failures import Commands
from aar.cli.options import LATEST, CampaignOption, DatabaseOption, JsonFlag

if TYPE_CHECKING:
    from aar.forum.views import PostView

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Read and search the forum, or write to it as a person.",
)

_PostId = Annotated[str, typer.Argument(metavar="POST", help="Number of the post: `12` or `#12`.")]
_Name = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; default your login.")]
_Kind = Annotated[str, typer.Option("--kind", "-k", help="hypothesis, result, insight, error or question.")]
_Body = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT", help="Markdown; left out or `-`, it is read from standard input.", show_default=False
    ),
]


@app.command("list")
def list_(
    campaign: CampaignOption = LATEST,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only posts of this kind.")] = None,
    researcher: Annotated[str | None, typer.Option("--researcher", "-r", help="Only this one's, such as r2.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Rows to show.")] = 30,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List posts, newest first."""
    from aar.campaign.views import get_researcher
    from aar.cli.opening import opened
    from aar.forum.posts import list_posts

    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            by = None if researcher is None else get_researcher(session, view.id, researcher).id
            posts = list_posts(session, view.id, kind=kind, researcher_id=by, limit=limit, newest_first=True)
    _print(posts, json, empty="Nobody has posted yet.")


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words to look for in titles, bodies and comments.")],
    campaign: CampaignOption = LATEST,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Rows to show.")] = 20,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Search posts and comments, best match first."""
    from aar.cli.opening import opened
    from aar.forum.search import search as find

    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            posts = find(session, view.id, " ".join(words), limit=limit)
    _print(posts, json, empty="No post holds these words.")


@app.command()
def show(
    post: _PostId, campaign: CampaignOption = LATEST, json: JsonFlag = False, database: DatabaseOption = None
) -> None:
    """Show a post with its comments."""
    from aar.cli.opening import opened
    from aar.cli.output import console, print_json
    from aar.cli.text import clean_line, clean_text, moment, signed
    from aar.forum.posts import get_thread

    number = _number(post)
    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            thread = get_thread(session, view.id, number)
    if json:
        print_json(thread)
        return
    out, first = console(), thread.post
    about = f", about s{first.submission_number}" if first.submission_number is not None else ""
    cites = ", ".join(f"s{each.number} {each.status}" for each in first.cites)
    out.print(f"#{first.id} {clean_line(first.title)}", style="bold")
    out.print(
        f"{first.kind} by {clean_line(first.author)}, {moment(first.created_at)}, votes {signed(first.score)}{about}",
        style="dim",
    )
    if cites:
        out.print(f"cites {cites}", style="dim")
    out.print(f"\n{clean_text(first.body)}", soft_wrap=True)
    for comment in thread.comments:
        out.print(f"\n{clean_line(comment.author)}, {moment(comment.created_at)}", style="dim")
        out.print(clean_text(comment.body), soft_wrap=True)


@app.command()
def post(
    title: Annotated[str, typer.Argument(help="One line.")],
    body: _Body = None,
    kind: _Kind = "insight",
    name: _Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Write a post; every researcher reads it, marked as a person's."""
    from aar.cli.opening import opened
    from aar.cli.output import print_json
    from aar.cli.people import person
    from aar.forum.posts import Author, create_post

    author, text = Author(person(name), None), _text(body)
    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            made = create_post(session, view.id, author, kind=kind, title=title, body=text)
    if json:
        print_json(made)
    else:
        print(f"posted #{made.id} in {view.id} as {made.author}")


@app.command()
def comment(
    post: _PostId,
    body: _Body = None,
    name: _Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Comment on a post; its author reads it, marked as a person's."""
    from aar.cli.opening import opened
    from aar.cli.output import print_json
    from aar.cli.people import person
    from aar.forum.posts import Author, create_comment

    author, number, text = Author(person(name), None), _number(post), _text(body)
    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            made = create_comment(session, view.id, author, number, text)
    if json:
        print_json(made)
    else:
        print(f"commented on #{number} in {view.id} as {made.author}")


def _number(given: str) -> int:
    from aar.errors import UsageError

    digits = given.removeprefix("#")
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"{given!r} is no post's number", "Give one such as 12; see `aar forum list`")
    return int(digits[:19])


def _text(body: str | None) -> str:
    return sys.stdin.read() if body in (None, "-") else str(body)


def _print(posts: list[PostView], json: bool, *, empty: str) -> None:
    from aar.cli.output import print_json, print_table, table
    from aar.cli.text import clean_line, moment, signed

    if json:
        print_json(posts)
        return
    made = table("", "kind", "by", "at", "votes", "replies", "title", "cites", right=("votes", "replies"))
    for each in posts:
        made.add_row(
            f"#{each.id}",
            each.kind,
            clean_line(each.author),
            moment(each.created_at),
            signed(each.score),
            str(each.comments),
            clean_line(each.title),
            ", ".join(f"s{cited.number} {cited.status}" for cited in each.cites),
        )
    print_table(made, empty=empty)
