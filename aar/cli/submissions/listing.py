"""``aar submissions``: list submissions, or show one with its frozen code."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.rule import Rule

from aar.campaign.views import get_researcher
from aar.cli.campaign_options import LATEST, CampaignOption
from aar.cli.context import CliContext, open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.formatting import clean_line, clean_text, format_clock, format_datetime, format_score
from aar.cli.output.printing import make_console, make_table, print_json, print_table, to_json_value
from aar.cli.submissions.details import print_checks, submission_standing
from aar.cli.submissions.history import print_history
from aar.errors import UsageError
from aar.readmodels.submissions.submission_code import CodeFile, read_submission_code
from aar.readmodels.submissions.submission_details import SubmissionDetails, read_submission_details
from aar.scoring.submissions import SubmissionView, get_submission, list_submissions


def submissions(
    number: Annotated[
        str | None, typer.Argument(metavar="NUMBER", help="Show one with its code: `12` or `s12`.")
    ] = None,
    campaign: CampaignOption = LATEST,
    researcher: Annotated[str | None, typer.Option("--researcher", "-r", help="Only this one's, such as r2.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Show its full record instead: seeds, runs, audits, every change.")
    ] = False,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List submissions, or show one with its code."""
    if record and number is None:
        raise UsageError(
            "submission number is missing: --record shows one submission", "Add it: aar submissions s12 --record"
        )
    with open_context(database) as workplace:
        if record and number is not None:
            print_history(workplace, campaign, parse_submission_number(number), json)
        elif number is None:
            _list(workplace, campaign, researcher, json)
        else:
            _show(workplace, campaign, number, json)


def _list(workplace: CliContext, campaign: str, researcher: str | None, json: bool) -> None:
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
    print_table(made, empty="There is no submission yet.")


def _show(workplace: CliContext, campaign: str, number: str, json: bool) -> None:
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
    """Return the number of a submission from ``12`` or ``s12``.

    Raises UsageError.
    """
    digits = given.removeprefix("s").removeprefix("S")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise UsageError(f"submission number is not valid: got {given!r}, expected 12 or s12", "See `aar submissions`")
    return int(digits)


def _print(found: SubmissionView, close: SubmissionDetails, files: list[CodeFile]) -> None:
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
        out.print("\nIts code is not stored on this machine.", style="dim")
    for file in files:
        out.print()
        out.print(Rule(clean_line(file.path), align="left", characters="─"))
        text = f"({file.size_bytes} bytes, not text)" if file.text is None else clean_text(file.text)
        out.print(text, soft_wrap=True)
