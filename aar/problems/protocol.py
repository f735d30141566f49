"""The problem protocol: data, hidden labels, a brief, baselines, and a score.

The controller asks for splits after a method is frozen, runs the method on each split's *public* bundle in a fresh
sandbox, and passes the method's output to ``score`` with the *hidden* bundle, which is never mounted anywhere.
A problem is found by the entry point group ``aar.problems`` or by a path to its folder (``problem.py`` with one
class that implements this protocol). ``aar.testing.conformance.problem_suite`` checks the promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Protocol, runtime_checkable

from aar.errors import ProblemError


class Stage(StrEnum):
    """The purpose of a split."""

    RESEARCH = "research"
    """The public data of a researcher: other stages may draw its test items too, and its labels are hidden."""
    MEASURE = "measure"
    """Splits drawn for ordinary scoring runs."""
    CONFIRM = "confirm"
    """The sealed final split; only ever scored at confirmation."""
    TRANSFER = "transfer"
    """Transfer domains, which no researcher works on."""


@dataclass(frozen=True, slots=True)
class Metric:
    """The metric of a problem: the number to improve.

    Args:
        name: as shown, such as "PGR".
        higher_is_better: direction.
        human_baseline: the value reached by people; ``human_baseline_source`` cites it.
        ceiling: the value of perfection.
        published: the best published value for such a problem, on other models; ``published_source`` cites it.
        plain: the value of the plainest method, where 0 means that nothing was gained; few scores that are surely below
            it are shown to researchers as numbers.
    """

    name: str
    higher_is_better: bool
    ceiling: float
    human_baseline: float | None = None
    human_baseline_source: str = ""
    published: float | None = None
    published_source: str = ""
    plain: float | None = None


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of one run of a method.

    Wall-clock seconds, bytes of memory, CPU cores, bytes of output file.
    """

    seconds: float = 120.0
    memory_bytes: int = 2 * 1024**3
    cpus: float = 1.0
    output_bytes: int = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits of one call of a problem's own code.

    Seconds of wall clock, and bytes of memory beyond those already loaded.

    ``check_data`` and ``validate`` may take ten times as long.
    """

    seconds: float = 120.0
    memory_bytes: int = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class Task:
    """One (domain, split) for one run of a method: ``run.py --data public --seed seed --out FILE``.

    Args:
        domain: name of the domain, such as "movie".
        stage: the purpose of the split.
        split_seed: the seed of the split.
        public: directory the method sees, read-only.
        hidden: directory it never sees.
    """

    domain: str
    stage: Stage
    split_seed: int
    public: Path
    hidden: Path


@dataclass(frozen=True, slots=True)
class Baseline:
    """A method that ships with the problem.

    Its key, its directory (``run.py``, ``method.yaml``), one line about it.
    """

    key: str
    directory: Path
    summary: str


@dataclass(frozen=True, slots=True)
class TaskScore:
    """The measurement of ``score`` on one task.

    Args:
        parts: named numbers needed to pool over tasks; for PGR the accuracies of method, weak and ceiling and the
            number of items. Never shown to a researcher.
    """

    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A pooled score with its uncertainty.

    Args:
        mean: the score.
        standard_error: of ``mean``, over seeds and items.
        low, high: ends of the 90 % interval.
        tasks: number of task scores pooled.
        by_domain: the same per domain.
        freedom: Student's degrees of freedom of ``standard_error``; None where the problem does not give them, which
            counts as the fewest that the seeds allow.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    tasks: int
    by_domain: Mapping[str, Estimate] = field(default_factory=dict)
    freedom: float | None = None


@dataclass(frozen=True, slots=True)
class Corruption:
    """A change of a task that tests the basis of its score.

    One kind at a time.

    One kind at a time.

    Args:
        permute: give each item's label to another item, at random within the domain: the distribution is the same, and
            no label has information about its item.
        noise: share of items, 0 to 1, whose label is inverted.
        coordinates: write the same items in other coordinates, which preserves everything that can be inferred from
            them and invalidates knowledge about them from elsewhere.
    """

    permute: bool = False
    noise: float = 0.0
    coordinates: bool = False

    @property
    def key(self) -> str:
        """Its name, such as ``permuted``, ``noise-20`` or ``coordinates``."""
        if self.coordinates:
            return "coordinates"
        return "permuted" if self.permute else f"noise-{round(100 * self.noise)}"


class OutputRejected(Exception):
    """An output file that cannot be scored.

    The message is shown to the researcher, so it names no label.
    """


@runtime_checkable
class Problem(Protocol):
    """A research problem."""

    name: str
    title: str
    metric: Metric
    climbed_domains: Sequence[str]
    transfer_domains: Sequence[str]
    run_limits: RunLimits
    default_seeds: int
    """Fresh seeds (and splits) of an ordinary measurement."""
    research_domains: Sequence[str]
    """Domains whose public bundles are mounted for researchers at ``/data/<domain>``."""

    def check_data(self) -> None:
        """Fail early if the data is absent or damaged. Raises DataMissing."""
        ...

    def prepare(self, domain: str, stage: Stage, split_seed: int, into: Path) -> Task:
        """Write one task's bundles to ``into/public`` and ``into/hidden``.

        CPU-bound: call it off the loop.

        The same arguments give the same bytes. Raises DataMissing, ProblemError.
        """
        ...

    def score(self, task: Task, output: Path) -> TaskScore:
        """Score one output file. CPU-bound.

        Raises OutputRejected with a text for the researcher.
        """
        ...

    def pool(self, scores: Sequence[tuple[Task, TaskScore]]) -> Estimate:
        """Return the pooled score over tasks of one method, with an honest standard error."""
        ...

    def brief(self) -> str:
        """Return the Markdown brief for the researcher's system prompt.

        It covers the problem, the data's files, the contract and the lab library.
        """
        ...

    def baselines(self) -> Sequence[Baseline]:
        """Return the methods that ship with the problem."""
        ...

    def lab(self) -> Path:
        """Return the directory of the lab library.

        It is mounted at ``/lab`` and put on PYTHONPATH in every sandbox of this problem.
        """
        ...

    def sandbox_packages(self) -> Sequence[str]:
        """Return Python distributions that a method may import, such as ``numpy``.

        A backend without images mounts these.
        """
        ...

    def directions(self) -> Path:
        """Return the YAML file of research directions (``research_seeds/``) dealt by default."""
        ...

    def validate(self) -> Sequence[str]:
        """Return the problems found by grading the baselines and deriving hidden from public.

        Empty when sound.
        """
        ...


def version_of(problem: Problem) -> int:
    """Return the version of a problem's data and scoring, its attribute ``version``.

    The default is 1.

    Scores under one version are never compared with scores under another: raise it with every change that affects them.
    """
    version: int = getattr(problem, "version", 1)
    return version


def call_limits_of(problem: Problem) -> CallLimits:
    """Return the limits of a problem's own code, its attribute ``call_limits``.

    Problems without it get the default limits.
    """
    found = getattr(problem, "call_limits", None)
    return found if isinstance(found, CallLimits) else CallLimits()


@runtime_checkable
class SizedProblem(Problem, Protocol):
    """A problem with slow baselines that also has a small size."""

    def small(self) -> Problem:
        """Return the same problem at a small size, for ``aar problem validate`` alone.

        Every baseline then runs in seconds.
        """
        ...


@runtime_checkable
class SupervisedProblem(Problem, Protocol):
    """A problem with teacher labels in its public bundles.

    The audits can then test whether a method uses them.
    """

    def corrupt(self, task: Task, corruption: Corruption, seed: int) -> None:
        """Corrupt the teacher's labels in ``task.public``, in place.

        Test items and the hidden bundle stay the same.

        The same arguments give the same bytes. CPU-bound: call it off the loop.
        """
        ...


@runtime_checkable
class ReframedProblem(Problem, Protocol):
    """A problem that can write a task's items in other coordinates.

    An audit can then test whether a score survives the change.

    Coordinates are properties that a method must not know beforehand: the axes of vectors, the numbering of tokens, the
        names
    of columns. A change leaves all relations between the items as they are.
    """

    def change_coordinates(self, task: Task, seed: int) -> None:
        """Write the items of ``task.public`` in other coordinates, in place.

        Nothing else in either bundle changes.

        Where splits share coordinates, others are drawn by ``seed``. Where every split has its own already, they are
        replaced by those of the research bundles, the only ones that a researcher can have learnt. The same arguments
        give the same bytes. CPU-bound: call it off the loop.
        """
        ...


def supports_corruption(problem: Problem, corruption: Corruption) -> bool:
    """Return True if a problem's tasks can be corrupted in this way."""
    return isinstance(problem, ReframedProblem if corruption.coordinates else SupervisedProblem)


def corrupt_labels(problem: Problem, task: Task, corruption: Corruption, seed: int) -> None:
    """Corrupt a task's public bundle in place. CPU-bound.

    Raises:
        ProblemError: the problem does not support it, or several kinds are requested at once.
    """
    if corruption.coordinates and (corruption.permute or corruption.noise):
        raise ProblemError(f"corruption is of several kinds: got {corruption}, expected one", "Request one at a time")
    if corruption.coordinates and isinstance(problem, ReframedProblem):
        problem.change_coordinates(task, seed)
    elif not corruption.coordinates and isinstance(problem, SupervisedProblem):
        problem.corrupt(task, corruption, seed)
    else:
        raise ProblemError(f"problem {problem.name} does not support the corruption {corruption.key!r}")


@dataclass(frozen=True, slots=True)
class LabelCorruption:
    """The corruption of the teacher's labels on items 0 to n - 1.

    Args:
        sources: for each item, the item whose label it gets; its own where nothing is permuted.
        turned: items whose label is inverted, in the order in which more noise would take them.
    """

    sources: Sequence[int]
    turned: Sequence[int]


def draw_label_corruption(task: Task, items: int, corruption: Corruption, seed: int) -> LabelCorruption:
    """Draw the corruption of a task. The same arguments give the same draw.

    A permutation is one random cycle through all items, so none retains its own label. With the same seed, the items
    turned by little noise are among those turned by more, so scores along a noise curve are paired.

    Args:
        task: its domain, stage and split seed go into the draw.
        items: number of items with a teacher label.
        corruption: ``permute`` or ``noise``; not both.
        seed: any integer.

    Raises:
        ProblemError: the share is invalid, or both kinds are requested.
    """
    if not 0 <= corruption.noise <= 1 or (corruption.permute and corruption.noise) or corruption.coordinates:
        raise ProblemError(f"no such corruption: {corruption}", "Permute, or give a share from 0 to 1")
    rng = Random(f"corrupt {task.domain} {task.stage} {task.split_seed} {seed}")  # noqa: S311 - repeatable, no secret
    order = rng.sample(range(items), items)
    if not corruption.permute:
        return LabelCorruption(range(items), order[: round(corruption.noise * items)])
    sources = list(range(items))
    for place, item in enumerate(order):
        sources[item] = order[place - 1]
    return LabelCorruption(sources, ())
