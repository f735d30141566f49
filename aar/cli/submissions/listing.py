"""``aar submissions``: the list, or one with its frozen code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aar.cli.options import LATEST, CampaignOption, DatabaseOption, JsonFlag

if TYPE_CHECKING:
    from aar.cli.context import CliContext
    from aar.readmodels.submissions.submission_code import CodeFile
    from aar.readmodels.submissions.submission_details import SubmissionDetails
    from aar.scoring.submissions.submit import SubmissionView


def submissions(
    number: Annotated[
        str | None, typer.Argument(metavar="NUMBER", help="Show one with its code: `12` or `s12`.")
    ] = None,
    campaign: CampaignOption = LATEST,
    researcher: Annotated[str | None, typer.Option("--researcher", "-r", help="Only this one's, such as r2.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Show its whole story instead: seeds, runs, audits, every change.")
    ] = False,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List what was handed in, or show one with its code."""
    from aar.cli.context import open_context
    from aar.cli.submissions.history import print_history
    from aar.errors import UsageError

    if record and number is None:
        raise UsageError("--record is about one submission", "Give its number: aar submissions s12 --record")
    with open_context(database) as workplace:
        if record and number is not None:
            print_history(workplace, campaign, parse_submission_number(number), json)
        elif number is None:
            _list(workplace, campaign, researcher, json)
        else:
            _show(workplace, campaign, number, json)


def _list(workplace: CliContext, campaign: str, researcher: str | None, json: bool) -> None:
    from aar.campaign.views import get_researcher
    from aar.cli.output.formatting import clean_line, format_clock, format_score
    from aar.cli.output.printing import make_table, print_json, print_table
    from aar.cli.submissions.details import submission_standing
    from aar.scoring.submissions.submit import list_submissions

    view = workplace.campaign(campaign)
    found: list[SubmissionView] = []
    with workplace.database.reading() as session:
        by = None if researcher is None else get_researcher(session, view.id, researcher).id
        while page := list_submissions(
            session, view.id, researcher_id=by, after=found[-1].number if found else 0, limit=500
        ):
            found += page
    if json:
        print_json(found)
        return
    made = make_table("", "by", "at", "state", "score", "title")
    for each in found:
        made.add_row(
            f"s{each.number}",
            clean_line(each.researcher_name),
            format_clock(each.created_at),
            clean_line(submission_standing(each)),
            format_score(each.mean, each.standard_error),
            clean_line(each.title),
        )
    print_table(made, empty="Nothing was handed in yet.")


def _show(workplace: CliContext, campaign: str, number: str, json: bool) -> None:
    from aar.cli.output.printing import print_json, to_json_value
    from aar.readmodels.submissions.submission_code import read_submission_code
    from aar.readmodels.submissions.submission_details import read_submission_details
    from aar.scoring.submissions.submit import get_submission

    wanted = parse_submission_number(number)
    view = workplace.campaign(campaign)
    with workplace.database.reading() as session:
        found = get_submission(session, view.id, wanted)
        close = read_submission_details(session, view.id, wanted)
    files = read_submission_code(workplace.snapshots(view.id), found.digest)
    if json:
        print_json({**to_json_value(found), **to_json_value(close), "files": files})
        return
    _print(found, close, files)


def parse_submission_number(given: str) -> int:
    """The number that `12` or `s12` stands for. Raises UsageError."""
    from aar.errors import UsageError

    digits = given.removeprefix("s").removeprefix("S")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise UsageError(f"{given!r} is no submission's number", "Give one such as 12 or s12; see `aar submissions`")
    return int(digits)


def _print(found: SubmissionView, close: SubmissionDetails, files: list[CodeFile]) -> None:
    from rich.rule import Rule

    from aar.cli.output.formatting import clean_line, clean_text, format_datetime, format_score
    from aar.cli.output.printing import make_console
    from aar.cli.submissions.details import print_checks, submission_standing

    out = make_console()
    out.print(f"s{found.number}: {clean_line(found.title)}", style="bold")
    for name, value in (
        ("by", f"{clean_line(found.researcher_name)}, {format_datetime(found.created_at)}"),
        ("state", clean_line(submission_standing(found))),
        ("score", f"{format_score(found.mean, found.standard_error)} over {found.seeds} seeds" if found.seeds else "–"),
        ("verdict", clean_text(found.verdict) or "–"),
        ("families", ", ".join(clean_line(family) for family in found.families) or "–"),
        ("digest", found.digest + (f", built on {found.parent}" if found.parent else "")),
    ):
        out.print(f"{name:>9}  {value}")
    out.print()
    out.print(clean_text(found.claim))
    if found.hypothesis:
        out.print(f"\nExpected: {clean_text(found.hypothesis)}")
    print_checks(out, close)
    if not files:
        out.print("\nIts code is not kept on this machine.", style="dim")
    for file in files:
        out.print()
        out.print(Rule(clean_line(file.path), align="left", characters="─"))
        text = f"({file.size_bytes} bytes, not text)" if file.text is None else clean_text(file.text)
        out.print(text, soft_wrap=True)
