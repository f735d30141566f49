"""The attack suite: every known way to inflate a score, tried against a problem.

As tests: subclass ``AttackSuite`` and override ``make_problem`` and ``make_backend``.
As a table: ``aar problem attack``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from aar.problems.protocol import Problem
from aar.redteam import ATTACKS, AttackOutcome, attack_all
from aar.sandbox.protocol import SandboxBackend


class AttackSuite:
    """Each attack as a test.

    No attack succeeds, and no gain beyond noise stays unmarked.

    The attacks are made once for the class, because the size of a gain by noise depends on their number.
    """

    submissions = 32
    """Submissions of a patient attacker; ``aar problem attack`` uses more."""
    known: ClassVar[Mapping[str, str]] = {}
    """Attacks that are known to succeed, by name, with the reason; a test fails when one of them no longer does."""
    seeds = 2
    """Fresh seeds of a measurement, and draws of the sealed split."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_problem(cls) -> Callable[[], Problem]:
        """Return a function that makes the problem under attack.

        No other code uses its instance.
        """
        raise NotImplementedError("override this fixture")

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls) -> Callable[[], SandboxBackend]:
        """Return a function that makes the backend to run in."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture(scope="class")
    @classmethod
    def outcomes(
        cls,
        make_problem: Callable[[], Problem],
        make_backend: Callable[[], SandboxBackend],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Mapping[str, AttackOutcome]:
        """Return the outcome of each attack, by its name."""
        return asyncio.run(cls._attack(make_problem(), make_backend(), tmp_path_factory.mktemp("attacks")))

    @classmethod
    async def _attack(cls, problem: Problem, backend: SandboxBackend, folder: Path) -> Mapping[str, AttackOutcome]:
        try:
            outcomes = await attack_all(problem, backend, folder, submissions=cls.submissions, seeds=cls.seeds)
            assert not await backend.list()
        finally:
            await backend.close()
        return {outcome.name: outcome for outcome in outcomes}

    @pytest.mark.parametrize("name", [attack.name for attack in ATTACKS])
    def test_attack_is_held(self, outcomes: Mapping[str, AttackOutcome], name: str) -> None:
        outcome = outcomes[name]
        if outcome.result is None:
            pytest.skip(outcome.skipped)
        assert not outcome.result.through
        if name in self.known:
            assert not outcome.held, f"{name} is held now: take it off the list"
            pytest.xfail(self.known[name])
        assert outcome.held, outcome
