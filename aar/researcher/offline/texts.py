"""The texts of the offline researcher: short, plain, and always naming the search program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from aar.families import FAMILIES
from aar.forum.views import MAX_FAMILIES
from aar.problems.search_space import Genome, SearchSpace
from aar.researcher.offline import SELF_DESCRIPTION
from aar.researcher.offline.conversation import PlannedCall
from aar.researcher.offline.search import Proposal
from aar.researcher.offline.search_state import MethodAttempt, ObservedScore, SearchState, measured_scores

SIGNATURE = f"*({SELF_DESCRIPTION})*"
MAX_TITLE = 120


def format_score(score: ObservedScore) -> str:
    """Format a measured score with its standard error."""
    return f"{score.mean:.2f} ± {score.error:.2f}"


def hypothesis_post(direction: str, genome: Genome, repertoire: SearchSpace) -> PlannedCall:
    """Return the opening post: the first method to try, and why."""
    description = repertoire.describe(genome)
    body = (
        f"My direction: {direction or 'none was given'}\n\n"
        f"Its words weigh the components that I draw from. I start with: {description}\n\n{SIGNATURE}"
    )
    return _post("hypothesis", f"Starting point: {description}", body, families=_families(genome, repertoire))


def expectation_line(attempt: MethodAttempt, memory: SearchState) -> str:
    """Return the line of ``method.yaml`` with the expected score of a method.

    It is the score of its parent, because most changes make little difference.
    """
    parent = next((score for number, _, score in measured_scores(memory) if number == attempt.parent), None)
    if parent is None:
        said = "No expectation: a fresh draw of components."
    else:
        said = f"About what s{attempt.parent} has, {format_score(parent)}: a random change seldom matters."
    return f"hypothesis: {json.dumps(f'{said} ({SELF_DESCRIPTION})')}\n"


def result_post(attempt: MethodAttempt, memory: SearchState, repertoire: SearchSpace) -> PlannedCall:
    """Return the post about a submission's result, beside that of its parent."""
    assert attempt.genome is not None
    assert attempt.submission is not None
    description, families = repertoire.describe(attempt.genome), _families(attempt.genome, repertoire)
    lines = [f"s{attempt.submission}: {description}", ""]
    if attempt.score is None:
        why = attempt.verdict or "no score came within the time I waited"
        title, body = f"s{attempt.submission} has no score: {why}", "\n".join([*lines, why, "", SIGNATURE])
        return _post("error", title, body, attempt, families)
    lines.append(f"Measured on fresh splits: {format_score(attempt.score)}.")
    kind, title = "result", f"{format_score(attempt.score)}: {description}"
    parent = next((score for number, _, score in measured_scores(memory) if number == attempt.parent), None)
    if parent is not None:
        gain = attempt.score.mean - parent.mean
        sure = abs(gain) > 2 * (attempt.score.error**2 + parent.error**2) ** 0.5
        certainty = "more than the noise" if sure else "within the noise"
        lines.append(f"Its parent s{attempt.parent} has {format_score(parent)}: {gain:+.2f}, {certainty}.")
        kind = "insight" if sure else "result"
        if changes := _changes(memory.genomes.get(attempt.parent or 0), attempt.genome):
            lines.append(f"Changed: {changes}.")
            title = f"{format_score(attempt.score)}, {gain:+.2f} on s{attempt.parent}, {certainty}: {changes}"
    if attempt.trial:
        lines.extend(["", "On the research data, without labels:", "```", attempt.trial[:1500], "```"])
    lines.extend(["", "```python", f"GENOME = {dict(attempt.genome)!r}", "```", "", SIGNATURE])
    return _post(kind, title, "\n".join(lines), attempt, families)


def _changes(before: Genome | None, after: Genome) -> str:
    if before is None:
        return ""
    return ", ".join(f"{gene} {before[gene]} → {after[gene]}" for gene in after if before.get(gene) != after[gene])


def summary_text(
    ranked: Sequence[tuple[int, str, ObservedScore]], memory: SearchState, name: str, repertoire: SearchSpace
) -> str:
    """Return all findings as text, for the last post and the report.

    ``ranked`` is best first.
    """
    genomes = {attempt.submission: attempt.genome for attempt in memory.submitted_attempts}
    own = [(number, score) for number, who, score in ranked if number in genomes or who == name]
    lines = [f"{len(memory.submitted_attempts) + memory.earlier} submissions of mine, {len(own)} of them with a score."]
    for number, score in own[:3]:
        genome = genomes.get(number) or memory.genomes.get(number)
        lines.append(f"- s{number}: {format_score(score)}{': ' + repertoire.describe(genome) if genome else ''}")
    if ranked:
        lead, who, score = ranked[0]
        lines.append(f"The board's best, as I last saw it: s{lead} by {who or name} with {format_score(score)}.")
    if memory.stopped:
        lines.append(f"I stop because: {memory.stopped}")
    return "\n".join([*lines, "", SIGNATURE])


def notebook_text(ranked: Sequence[tuple[int, str, ObservedScore]], memory: SearchState, name: str) -> str:
    """Return the notebook: methods with known score and genome, best first.

    Its lines can be parsed.
    """
    lines = [
        f"- s{number} by {who or name}: {score.mean:.2f} ± {score.error:.2f} GENOME = {dict(memory.genomes[number])!r}"
        for number, who, score in ranked[:40]
        if number in memory.genomes
    ]
    return "\n".join(
        [f"# Notebook of {name} ({SELF_DESCRIPTION})", "", "Measured methods that I know, best first:", "", *lines, ""]
    )


def summary_post(text: str) -> PlannedCall:
    """Return the last post."""
    return _post("insight", "Summary of my search", text)


def parent_comment(attempt: MethodAttempt, post: int) -> PlannedCall:
    """Return a comment for the author of the parent."""
    assert attempt.score is not None
    body = f"I built s{attempt.submission} on this; it measured {format_score(attempt.score)}. {SIGNATURE}"
    return PlannedCall("comment", {"post": post, "body": body})


def person_answer(post: int) -> PlannedCall:
    """Return a comment for a person."""
    body = (
        f"Read. I am an {SELF_DESCRIPTION}: I cannot follow instructions, but from now on your words weigh the "
        "components that I "
        "draw from, as those of my direction do."
    )
    return PlannedCall("comment", {"post": post, "body": body})


def plan_text(proposal: Proposal, description: str) -> str:
    """Return the text of a turn that writes a method."""
    return f"[{SELF_DESCRIPTION}] Next method, {proposal.origin}: {description}"


def _families(genome: Genome, repertoire: SearchSpace) -> list[str]:
    """Return the labels of a genome's method, which are those of its posts too."""
    about = yaml.safe_load(repertoire.render(genome, parent=None)["method.yaml"])
    return [each for each in about["families"] if each in FAMILIES][:MAX_FAMILIES]


def _post(
    kind: str, title: str, body: str, attempt: MethodAttempt | None = None, families: Sequence[str] = ()
) -> PlannedCall:
    title = title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…"
    fields: dict[str, Any] = {"kind": kind, "title": title, "body": body}
    if families:
        fields["families"] = list(families)
    if attempt is not None:
        fields["submission"] = f"s{attempt.submission}"
    return PlannedCall("post", fields)
