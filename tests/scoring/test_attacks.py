"""The attack suite against both shipped problems, and the failures of the public study's reference code."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from aar.problems.protocol import Problem, Stage
from aar.problems.registry import find_problem
from aar.redteam import AttackOutcome, AttackResult, Gain, attack_all
from aar.redteam.attacks.memorisation import build_table
from aar.redteam.attacks.probing import flip_prediction
from aar.redteam.direct_runs import PreparedTask
from aar.redteam.gain import OutputPair, dump_output, load_output, paired_gain
from aar.redteam.knowledge import hidden_labels
from aar.redteam.runner import ATTACKS, REMAINING, _chosen
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import ScoreOracle, make_split
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.audits.score_audits import COORDINATE_KNOWLEDGE as KNOWLEDGE_RULE
from aar.settings import get_settings
from aar.testing.conformance.attack_suite import AttackSuite
from aar.testing.principal_axes import PrincipalAxes

pytestmark = pytest.mark.bubblewrap

CARRYING = ("quiet-table", "quiet-half", "prior-direction")
KNOWLEDGE = (*CARRYING, "outside-labels", "outside-head", "outside-blend", "told-constants", "direction-probes")


@pytest.fixture(scope="class")
def home_of_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own for all tests of a class."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAR_HOME", str(home))
        get_settings.cache_clear()
        yield home
    get_settings.cache_clear()


class _Bubblewrapped(AttackSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls, bubblewrap: None, home_of_class: Path) -> Callable[[], SandboxBackend]:
        """Real sandboxes."""
        return lambda: BubblewrapBackend(distributions=("numpy", "scipy", "scikit-learn"))


@pytest.mark.slow(together=True)
@pytest.mark.nightly
class TestWeakToStrong(_Bubblewrapped):
    """The default problem, with real data and methods."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_problem(cls) -> Callable[[], Problem]:
        """The default problem."""
        return lambda: find_problem("weak_to_strong")

    @pytest.mark.parametrize("name", KNOWLEDGE)
    def test_knowledge_carried_in_gains_nothing(self, outcomes: Mapping[str, AttackOutcome], name: str) -> None:
        result = outcomes[name].result
        assert result is not None
        assert result.gain is not None
        assert result.gain.mean < 0.05
        assert result.stopped or result.noted

    @pytest.mark.parametrize("name", ["quiet-table", "quiet-half", "prior-direction", "told-constants"])
    def test_the_audit_of_coordinates_notices(self, outcomes: Mapping[str, AttackOutcome], name: str) -> None:
        result = outcomes[name].result
        assert result is not None
        assert "coordinate" in result.noted


@pytest.mark.slow
@pytest.mark.nightly
class TestPrincipalAxes:
    """The same attacks where splits share coordinates: each is worth making, and the audit tells."""

    @pytest.fixture(scope="class")
    @classmethod
    def outcomes(
        cls, bubblewrap: None, home_of_class: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Mapping[str, AttackOutcome]:
        """Of the attacks that carry the most."""
        found = _attack(PrincipalAxes(), tmp_path_factory.mktemp("attacks"), *CARRYING)
        return {outcome.name: outcome for outcome in found}

    @pytest.mark.parametrize("name", CARRYING)
    def test_attack_is_held(self, outcomes: Mapping[str, AttackOutcome], name: str) -> None:
        outcome = outcomes[name]
        # What one domain gains can lie inside the noise of two seeds.
        assert outcome.inside_noise is False or name == "quiet-half"
        assert outcome.result is not None
        assert outcome.result.gain is not None
        assert outcome.result.gain.mean > 0.1
        assert KNOWLEDGE_RULE in outcome.result.noted


@pytest.mark.slow(together=True)  # its attacks are made once
class TestToy(_Bubblewrapped):
    """A problem whose outputs are texts: what works on single items is not tried."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_problem(cls) -> Callable[[], Problem]:
        """The problem that people copy."""
        return lambda: find_problem("toy")

    def test_what_needs_items_is_left_out(self, outcomes: Mapping[str, AttackOutcome]) -> None:
        left_out = [name for name, outcome in outcomes.items() if outcome.result is None]
        assert {"single-flips", "random-masks", "direction-probes"} <= set(left_out)
        assert {"forged-results", "stashed-state", "poisoned-snapshots"}.isdisjoint(left_out)


class TestReferenceFailures:
    """What the released reference code let happen cannot happen here."""

    def test_501_calls_do_not_read_500_labels(self, tmp_path: Path) -> None:
        """There: an endpoint that answers exact counts gave 500 of 500 labels in 501 calls."""
        problem, splits = find_problem("weak_to_strong"), []
        for index in range(2):
            for domain in problem.climbed_domains:
                task = problem.prepare(domain, Stage.MEASURE, 100 + index, tmp_path / f"{domain}-{index}")
                guess = np.random.default_rng(index).random(len(np.load(task.public / "test.npy"))) > 0.5
                splits.append(make_split(PreparedTask(task, 0, index), dump_output(guess)))
        arena = ScoreArena(problem, BubblewrapBackend(), tmp_path, tmp_path, submissions=501, seeds=2)
        oracle, first = ScoreOracle(arena, splits), splits[0]
        truth = hidden_labels(first.place.task)
        assert truth is not None
        base = oracle.number(lambda split: split.honest)
        told = [oracle.number(partial(flip_prediction, name)) for name in first.names[:500]]
        learnt = first.honest[:500] ^ (np.array(told) > base)
        # Five standard deviations of 500 fair coins; all 500 would be 22.
        assert abs(int((learnt == truth[:500]).sum()) - 250) < 5 * np.sqrt(500) / 2

    def test_a_typed_in_score_does_not_stand_on_the_board(
        self, bubblewrap: None, home_of_class: Path, tmp_path: Path
    ) -> None:
        """There: 0.99 sent by a client stood on rank one."""
        (outcome,) = _attack(find_problem("toy"), tmp_path, "forged-results")
        assert outcome.result is not None
        assert not outcome.result.through

    def test_a_frozen_method_is_not_lost_or_changed(
        self, bubblewrap: None, home_of_class: Path, tmp_path: Path
    ) -> None:
        """There: snapshots were overwritten, and findings lost while the tool said success."""
        for outcome in _attack(find_problem("toy"), tmp_path, "poisoned-snapshots", "edited-claims"):
            assert outcome.result is not None
            assert not outcome.result.through


def _attack(problem: Problem, folder: Path, *names: str) -> list[AttackOutcome]:
    async def make() -> list[AttackOutcome]:
        backend = BubblewrapBackend(distributions=("numpy", "scipy", "scikit-learn"))
        try:
            return await attack_all(problem, backend, folder, only=names, submissions=4, seeds=2)
        finally:
            await backend.close()

    return asyncio.run(make())


def test_a_bit_table_tells_every_label_it_was_built_from() -> None:
    """As the method of ``quiet-table`` reads it, which does so on its own."""
    keys = [index.to_bytes(4) for index in range(3000)]
    labels = np.random.default_rng(2).random(3000) > 0.4
    table = build_table(keys, labels)
    assert len(table.packed) < 3000 * 1.3 / 8
    bits = np.unpackbits(np.frombuffer(table.packed, np.uint8))
    digests = b"".join(hashlib.blake2b(key, digest_size=12).digest() for key in keys)
    cells = np.frombuffer(digests, "<u4").reshape(-1, 3) % table.third + table.third * np.arange(3)
    assert np.array_equal(bits[cells].sum(axis=1) % 2 == 1, labels)


def test_what_is_known_not_to_be_held_is_made_by_name_alone() -> None:
    assert {attack.name for attack in REMAINING} == {"known-components"}
    assert not set(REMAINING) & set(ATTACKS)
    assert _chosen((), ATTACKS) == list(ATTACKS)
    assert _chosen(("known-components", "impostor"), ATTACKS) == [ATTACKS[-1], *REMAINING]


class TestGain:
    """The paired difference that every verdict of the suite rests on."""

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Problem, list[OutputPair], list[np.ndarray]]:
        problem, folder = find_problem("weak_to_strong"), tmp_path_factory.mktemp("pairs")
        pairs, truths, rng = [], [], np.random.default_rng(3)
        for index in range(4):
            for domain in problem.climbed_domains:
                task = problem.prepare(domain, Stage.CONFIRM, index, folder / f"{domain}-{index}")
                truth = hidden_labels(task)
                assert truth is not None
                honest = np.where(rng.random(len(truth)) < 0.3, ~truth, truth)
                pairs.append(OutputPair(task, index, dump_output(honest), dump_output(honest)))
                truths.append(truth)
        return problem, pairs, truths

    def test_the_same_answers_gain_nothing(self, pairs: tuple[Problem, list[OutputPair], list[np.ndarray]]) -> None:
        found = paired_gain(pairs[0], pairs[1])
        assert (found.mean, found.standard_error) == (0.0, 0.0)
        assert found.inside_noise(10)

    def test_a_fixed_random_change_is_inside_noise_and_a_real_one_is_not(
        self, pairs: tuple[Problem, list[OutputPair], list[np.ndarray]]
    ) -> None:
        problem, same, truths = pairs
        rng = np.random.default_rng(4)
        lucky, better = [], []
        for pair, truth in zip(same, truths, strict=True):
            honest = load_output(pair.honest)
            assert honest is not None
            changed = rng.random(len(honest)) < 0.1
            lucky.append(
                OutputPair(
                    pair.task, pair.index, pair.honest, dump_output(np.where(changed, rng.random() > 0.5, honest))
                )
            )
            better.append(OutputPair(pair.task, pair.index, pair.honest, dump_output(np.where(changed, truth, honest))))
        real = paired_gain(problem, better)
        assert real.mean > 0.1
        assert not real.inside_noise(10)
        noise = paired_gain(problem, lucky)
        assert noise.inside_noise(10)
        assert 0 < noise.standard_error < 0.1

    def test_more_comparisons_allow_more(self) -> None:
        found = Gain(2.4, 1.0)
        assert not found.inside_noise(1)
        assert found.inside_noise(10)
        assert 2.5 < Gain(0.0, 1.0).limit(10) < 2.7
        assert Gain(2.4, 1.0, freedom=2).inside_noise(1)

    @pytest.mark.parametrize(
        ("result", "inside", "held"),
        [
            (AttackResult(Gain(1, 0.1)), False, False),
            (AttackResult(Gain(1, 0.1), stopped="person.leak"), False, True),
            (AttackResult(Gain(1, 0.1), noted="teacher-independent"), False, True),
            (AttackResult(Gain(0, 0.1), stopped="refused", through=["a row changed"]), True, False),
            (AttackResult(stopped="refused"), None, True),
        ],
    )
    def test_what_counts_as_held(self, result: AttackResult, inside: bool | None, held: bool) -> None:
        assert AttackOutcome("a", "b", result, "", inside, 0.0).held is held
