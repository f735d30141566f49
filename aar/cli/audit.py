"""``aar audit``: inspect a submission, and decide about it as a person."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from aar.campaign.submission_decisions import (
    SubmissionDecision,
    confirm_submission,
    disqualify_submission,
    reinstate_submission,
)
from aar.cli.context import LATEST, CampaignOption, author_name, open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import print_json, to_json_value
from aar.cli.submissions import print_details
from aar.readmodels.submission_details import read_submission_details
from aar.scoring.submissions import get_submission
from aar.text import parse_submission_number

_Number = Annotated[str, typer.Argument(metavar="NUMBER", help="Number of the submission: `12` or `s12`.")]
_Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; its author and all others read it.")]
_Name = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; default your login.")]


def show(
    number: _Number, campaign: CampaignOption = LATEST, json: JsonFlag = False, database: DatabaseOption = None
) -> None:
    """Show a submission's scores by phase, audits with evidence, and changes of status.

    For people only: researchers see neither confirmed scores nor evidence.
    """
    submission_number = parse_submission_number(number)
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.reading() as session:
            submission = get_submission(session, view.id, submission_number)
            close = read_submission_details(session, view.id, submission_number)
    if json:
        print_json({**to_json_value(submission), **to_json_value(close)})
    else:
        print_details(submission, close)


def confirm(
    number: _Number,
    reason: _Reason = "",
    name: _Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Request a confirmation: new seeds, the sealed splits, all audits.

    While the campaign runs, its scorer does it as soon as it is free; otherwise it waits for `aar resume`.
    """

    _decide(
        partial(confirm_submission, reason=reason), "s{0} will be confirmed", number, name, campaign, json, database
    )


def disqualify(
    number: _Number,
    rule: Annotated[str, typer.Option("--rule", metavar="NAME", help="What it broke, such as person.leak.")],
    reason: _Reason,
    name: _Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Take a submission off the leaderboard; its author reads the rule and the reason."""

    _decide(
        partial(disqualify_submission, rule=rule, reason=reason),
        "s{0} is disqualified",
        number,
        name,
        campaign,
        json,
        database,
    )


def reinstate(
    number: _Number,
    reason: _Reason,
    name: _Name = None,
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Put a disqualified submission back on the leaderboard."""

    _decide(partial(reinstate_submission, reason=reason), "s{0} is reinstated", number, name, campaign, json, database)


def _decide(
    decide: Callable[..., SubmissionDecision],
    done: str,
    number: str,
    name: str | None,
    campaign: str,
    json: bool,
    database: str | None,
) -> None:
    submission_number, by = parse_submission_number(number), author_name(name)
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() as session:
            decision = decide(session, view.id, submission_number, by=by)
    if json:
        print_json(decision)
        return
    waits = decision.submission.state in ("queued", "scoring") or "will be" in done
    later = "" if decision.heard or not waits else f", once the campaign goes on: aar resume {view.id}"
    print(done.format(submission_number) + later)
