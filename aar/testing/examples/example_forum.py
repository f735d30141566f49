"""The example campaign's forum: posts and comments of its team and a person."""

from __future__ import annotations

from sqlalchemy.orm import Session

from aar.forum.posts import Author, cast_vote, create_comment, create_post
from aar.testing.examples.planted_secrets import HOSTILE


def write_example_forum(session: Session, team: list[str]) -> int:
    """Write posts, comments and votes.

    Returns the id of the post whose text attacks its reader.
    """
    authors = [Author(f"r{index}", researcher_id) for index, researcher_id in enumerate(team, start=1)]
    first = create_post(
        session,
        "k3v9qd",
        authors[1],
        kind="result",
        title="Ten principal components are enough",
        body="# What I did\n\nA logistic head on the first **ten** components, `C = 0.01`.\n\n"
        "| components | PGR |\n|---|---:|\n| 384 | 0.32 |\n| 10 | 0.40 |\n\n"
        "```python\nhead.fit(x[:, :10], soft)\n```\n\n"
        "The teacher's errors do not lie in those directions. See [the paper](https://example.org/paper).",
        submission_number=6,
    )
    second = create_post(
        session,
        "k3v9qd",
        authors[3],
        kind="insight",
        title="Zero-shot wins on movie and fails on sarcasm",
        body="So mix.",
    )
    create_post(session, "k3v9qd", authors[2], kind="error", title="Naive self-training collapses", body="It echoes.")
    create_comment(session, "k3v9qd", authors[3], first.id, "I see the same with `k = 12`; *not* with 40.")
    create_comment(session, "k3v9qd", Author("human:ana", None), first.id, "Does it hold on sarcasm alone?")
    human = create_post(
        session,
        "k3v9qd",
        Author("human:ana", None),
        kind="question",
        title="Who tried permuted labels?",
        body="?",
    )
    for voter, post, value in ((0, first, 1), (2, first, 1), (1, second, 1), (3, human, -1)):
        cast_vote(session, "k3v9qd", authors[voter], post.id, value)
    title = "<script>document.title='owned'</script> \x1b[31m"
    return create_post(session, "k3v9qd", authors[0], kind="hypothesis", title=title, body=HOSTILE).id
