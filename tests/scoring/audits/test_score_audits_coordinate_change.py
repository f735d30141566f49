"""The audit of coordinates on real scores: of honest methods, and of one that carries what was learnt elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aar.problems.protocol import Baseline, Stage
from aar.problems.toy import Toy
from aar.problems.weak_to_strong import WeakToStrong
from aar.problems.weak_to_strong.bundles import read_hidden
from aar.problems.weak_to_strong.lab import w2s
from aar.scoring.audits.protocol import Audit, AuditStage, AuditVerdict
from aar.scoring.audits.score_audits import COORDINATE_DEPENDENT, COORDINATE_KNOWLEDGE, CoordinatesAudit
from aar.scoring.phases import CONFIRM, IN_NEW_COORDINATES, Phase, phase_of
from aar.testing.in_process_runs import make_audit_input, measure_in_process
from aar.testing.principal_axes import PrincipalAxes

from .scored import METHODS, Scored

pytestmark = pytest.mark.anyio
AUDIT = CoordinatesAudit()
_CARRIED = """
import numpy as np
import w2s
args = w2s.arguments()
data = w2s.load(args.data)
told = dict(np.load(__file__.replace("run.py", "weights.npz")))
honest = w2s.fit_logistic(data.train, w2s.harden(data.weak), l2=1e-2).logits(data.test)
known = data.test @ told[data.domain] if data.domain in told else 0
w2s.save(w2s.sigmoid(w2s.standard_logits(honest) + {share} * known), args.out)
"""
_PICKY = """
import numpy as np
import w2s
args = w2s.arguments()
data = w2s.load(args.data)
columns = np.random.default_rng(args.seed).permutation(576)[:24]
head = w2s.fit_logistic(data.train[:, columns], w2s.harden(data.weak), l2=1e-2)
w2s.save(head.proba(data.test[:, columns]), args.out)
"""


def _method(folder: Path, code: str) -> Baseline:
    folder.mkdir()
    (folder / "run.py").write_text(code)
    return Baseline(folder.name, folder, "A method")


@pytest.fixture(scope="module", params=[WeakToStrong, PrincipalAxes])
def dishonest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[WeakToStrong, Path]:
    """A problem, and a folder with a head learnt from the true labels of its research bundles."""
    problem, folder = request.param(), tmp_path_factory.mktemp("carried")
    heads = {}
    task = problem.prepare("movie", Stage.RESEARCH, 0, folder / "research")
    rows, labels = np.load(task.public / "test.npy").astype(np.float32), read_hidden(task.hidden)["labels"]
    head = w2s.fit_logistic(rows, labels, l2=1e-3)
    heads["movie"] = head.weights / head.logits(rows).std()
    made = _method(folder / "carried", _CARRIED.format(share=2))
    np.savez(made.directory / "weights.npz", **heads)
    return problem, made.directory


def test_it_asks_at_confirmations_where_the_problem_offers_other_coordinates() -> None:
    assert isinstance(AUDIT, Audit)
    assert AUDIT.stage is AuditStage.CONFIRMED
    assert AUDIT.phases(WeakToStrong()) == (IN_NEW_COORDINATES,)
    assert AUDIT.phases(Toy()) == ()
    assert phase_of(IN_NEW_COORDINATES.key) == IN_NEW_COORDINATES
    assert (IN_NEW_COORDINATES.key, IN_NEW_COORDINATES.draw_series) == ("coordinates", CONFIRM.key)


def test_every_other_phase_has_draws_of_its_own() -> None:
    phases: list[Phase] = [phase_of(key) for key in ("measure", "confirm", "transfer", "permuted", "noise-20")]
    assert [phase.draw_series for phase in phases] == [phase.key for phase in phases]


@pytest.mark.parametrize("method", METHODS)
async def test_honest_methods_pass(scored: Scored, method: str) -> None:
    found = await AUDIT.judge(scored.dossier(method))
    assert (found.verdict, found.rule) == (AuditVerdict.PASSED, "")
    assert found.evidence["departure"] < 0.25
    assert found.evidence["splits"] == 6


async def test_carried_knowledge_is_flagged_wherever_it_holds(dishonest: tuple[WeakToStrong, Path]) -> None:
    """In the default problem it shows in known coordinates alone; without turned splits it is gone in other ones."""
    problem, folder = dishonest
    method = Baseline("carried", folder, "A method")
    seen = {
        phase.key: measure_in_process(problem, [method], phase, range(2))["carried"]
        for phase in (CONFIRM, IN_NEW_COORDINATES)
    }
    found = await AUDIT.judge(make_audit_input(problem, method, seen))
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, COORDINATE_KNOWLEDGE)
    gain = found.evidence["undisturbed"] - found.evidence["in_other_coordinates"]
    assert (gain > 0.1) if isinstance(problem, PrincipalAxes) else (gain < -0.1)
    assert str(round(found.evidence["undisturbed"], 2)) not in found.reason


async def test_a_method_that_picks_columns_is_labelled_at_most(tmp_path: Path) -> None:
    problem, method = WeakToStrong(), _method(tmp_path / "picky", _PICKY)
    seen = {
        phase.key: measure_in_process(problem, [method], phase, range(2))["picky"]
        for phase in (CONFIRM, IN_NEW_COORDINATES)
    }
    found = await AUDIT.judge(make_audit_input(problem, method, seen))
    assert (found.verdict, found.rule) == (AuditVerdict.LABELLED, COORDINATE_DEPENDENT)


async def test_no_score_in_other_coordinates_is_looked_at(scored: Scored) -> None:
    found = await AUDIT.judge(scored.dossier("vanilla", coordinates=[]))
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "coordinates.unanswered")


async def test_without_other_coordinates_or_a_score_it_is_skipped_with_a_reason(scored: Scored) -> None:
    made = scored.dossier("vanilla")
    elsewhere = [
        (replace(task, split_seed=-1), score) for task, score in scored.by_method["vanilla"][IN_NEW_COORDINATES.key]
    ]
    for each in (
        replace(made, problem=Toy()),
        scored.dossier("vanilla", confirm=[]),
        scored.dossier("vanilla", coordinates=elsewhere),
    ):
        found = await AUDIT.judge(each)
        assert found.verdict is AuditVerdict.SKIPPED
        assert found.reason
