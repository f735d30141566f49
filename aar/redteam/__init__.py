"""Attacks that try to move a score without the science, and sandbox escapes.

They run against the real scorer, clean room, store and API.
"""

from aar.redteam.attack_protocol import Attack, AttackResult
from aar.redteam.gain import Gain
from aar.redteam.runner import ATTACKS, SUBMISSIONS, AttackOutcome, attack_all

__all__ = ["ATTACKS", "SUBMISSIONS", "Attack", "AttackOutcome", "AttackResult", "Gain", "attack_all"]
