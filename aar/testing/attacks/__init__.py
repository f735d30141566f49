"""Attempts to move a score without doing the science, made against the real scorer, clean room, store and API."""

from aar.testing.attacks.attack import Attack, Result
from aar.testing.attacks.gain import Gain
from aar.testing.attacks.suite import ATTACKS, SUBMISSIONS, Outcome, attack_all

__all__ = ["ATTACKS", "SUBMISSIONS", "Attack", "Gain", "Outcome", "Result", "attack_all"]
