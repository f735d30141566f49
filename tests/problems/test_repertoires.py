"""What every repertoire promises, on both that ship."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from aar.problems.protocol import Stage
from aar.problems.search_space import SearchableProblem, SearchSpace
from aar.problems.toy import Toy
from aar.problems.weak_to_strong import WeakToStrong
from aar.scoring.method_manifest import read_manifest

PROBLEMS = [Toy(), WeakToStrong()]


@pytest.fixture(params=PROBLEMS, ids=lambda problem: problem.name)
def repertoire(request: pytest.FixtureRequest) -> SearchSpace:
    assert isinstance(request.param, SearchableProblem)
    return request.param.repertoire()


def test_the_same_draws_give_the_same_genome(repertoire: SearchSpace) -> None:
    assert repertoire.sample(Random(1), "noise") == repertoire.sample(Random(1), "noise")


def test_every_genome_survives_being_written_and_read(repertoire: SearchSpace, tmp_path: Path) -> None:
    rng = Random(2)
    genome = repertoire.sample(rng, "")
    for step in range(200):
        other = repertoire.sample(rng, "neighbours and ensembles")
        genome = repertoire.mutate(rng, repertoire.cross(rng, genome, other), "noise")
        files = repertoire.render(genome, parent="s3" if step % 2 else None)
        assert repertoire.parse(files["run.py"]) == genome
        assert repertoire.parse(f"GENOME = {dict(genome)!r}") == genome
        compile(files["run.py"], "run.py", "exec")
        assert "not by an LLM" in files["run.py"]
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        assert read_manifest(tmp_path).parent == ("s3" if step % 2 else None)


def test_mutation_changes_something_and_distance_sees_what_matters(repertoire: SearchSpace) -> None:
    rng = Random(3)
    for _ in range(100):
        genome = repertoire.sample(rng, "")
        assert repertoire.distance(genome, genome) == 0
        other = repertoire.sample(rng, "")
        assert repertoire.distance(genome, other) == repertoire.distance(other, genome) >= 0
    moved = [repertoire.distance(genome, repertoire.mutate(rng, genome, "")) for _ in range(100)]
    assert sum(distance > 0 for distance in moved) > 80


def test_simplifying_comes_to_an_end(repertoire: SearchSpace) -> None:
    rng = Random(4)
    for _ in range(50):
        genome = repertoire.sample(rng, "ensembles of self-training with neighbours")
        for _ in range(10):
            genome = repertoire.simplify(genome)
        assert repertoire.simplify(genome) == genome


@pytest.mark.parametrize(
    "source",
    [
        "",
        "GENOME = {",
        "GENOME = {1, 2}",
        "GENOME = {[1]: 2}",
        "GENOME = {'pca': __import__('os')}",
        "GENOME = {'neighbours': True}",
        "GENOME = {" + "'a': 1, " * 10_000 + "}",
        "GENOME = {" + "-" * 5_000 + "1: 1}",
    ],
)
def test_what_is_no_genome_is_not_taken_for_one(repertoire: SearchSpace, source: str) -> None:
    assert repertoire.parse(source) is None


def test_a_genome_with_a_foreign_value_is_not_taken(repertoire: SearchSpace) -> None:
    genome = repertoire.sample(Random(5), "")
    gene = next(iter(genome))
    for value in ("__import__('os').system('id')", 10**9, None, [1]):
        assert repertoire.parse(f"GENOME = { ({**genome, gene: value})!r}") is None


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_trial_tells_a_method_that_works_from_one_that_does_not(
    problem: Toy | WeakToStrong, tmp_path: Path
) -> None:
    repertoire = problem.repertoire()
    for domain in problem.research_domains:
        problem.prepare(domain, Stage.RESEARCH, 0, tmp_path / domain).public.rename(tmp_path / f"{domain}-public")
    data = tmp_path / "data"
    data.mkdir()
    for domain in problem.research_domains:
        (tmp_path / f"{domain}-public").rename(data / domain)
    method = tmp_path / "a method"
    method.mkdir()
    for name, text in repertoire.render(repertoire.sample(Random(6), ""), parent=None).items():
        (method / name).write_text(text)
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(problem.lab()),
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-c", repertoire.trial(str(method), str(data))]
    works = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert works.returncode == 0, works.stdout + works.stderr
    assert "trial: ok" in works.stdout
    assert {path.name for path in method.iterdir()} == {"run.py", "method.yaml"}
    (method / "run.py").write_text("raise SystemExit(3)\n")
    fails = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert fails.returncode != 0
    assert "trial: failed" in fails.stdout
