"""Class prompts per domain: what a person would write to ask the student, without looking at a label.

Three descriptions and three made-up examples for each class. Their embeddings ship next to the texts' own, so that
zero-shot elicitation needs no encoder in the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """Class names and phrasings: index 0 and 1 are the classes, phrasings pair up by position."""

    names: tuple[str, str]
    phrasings: tuple[tuple[str, ...], tuple[str, ...]]


PROMPTS: dict[str, ClassPrompts] = {
    "movie": ClassPrompts(
        ("negative", "positive"),
        (
            ("a negative review", "This movie is terrible.", "I hated this film.")
            + ("dull, lazy and far too long", "a waste of good actors", "the worst film of the year"),
            ("a positive review", "This movie is wonderful.", "I loved this film.")
            + ("fresh, clever and moving", "a showcase for good actors", "the best film of the year"),
        ),
    ),
    "amazon": ClassPrompts(
        ("negative", "positive"),
        (
            ("a negative review", "This product is terrible.", "I hate it.")
            + ("it broke after a week", "the quality is poor", "do not buy this"),
            ("a positive review", "This product is wonderful.", "I love it.")
            + ("it still works like new", "the quality is excellent", "buy this"),
        ),
    ),
    "nyt": ClassPrompts(
        ("negative", "positive"),
        (
            ("a negative opinion", "This is terrible news.", "The policy is a failure.")
            + ("the situation is getting worse", "a shameful mistake", "people are suffering"),
            ("a positive opinion", "This is wonderful news.", "The policy is a success.")
            + ("the situation is getting better", "an admirable decision", "people are thriving"),
        ),
    ),
    "tweet": ClassPrompts(
        ("negative", "positive"),
        (
            ("a negative tweet", "I feel terrible.", "I hate this.")
            + ("worst day ever", "so sad and tired", "this sucks"),
            ("a positive tweet", "I feel wonderful.", "I love this.")
            + ("best day ever", "so happy and excited", "this rocks"),
        ),
    ),
    "sarcasm": ClassPrompts(
        ("news", "satire"),
        (
            ("a serious news headline", "This headline is real.", "factual reporting")
            + (
                "senate passes budget after long debate",
                "how to sleep better at night",
                "new study links diet to health",
            ),
            ("a satirical headline", "This headline is a joke.", "absurd parody")
            + (
                "area man proud of self for reading",
                "nation too tired to care",
                "new study finds everyone is annoying",
            ),
        ),
    ),
}
