"""Attempts to move a score without doing the science, made against the real scorer, clean room, store and API."""

from aar.redteam.attack_protocol import Attack, Result
from aar.redteam.gain import Gain
from aar.redteam.runner import ATTACKS, SUBMISSIONS, Outcome, attack_all

__all__ = ["ATTACKS", "SUBMISSIONS", "Attack", "Gain", "Outcome", "Result", "attack_all"]
