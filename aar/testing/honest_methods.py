"""Honest methods that no audit may disqualify: the false positive check.

The baselines that ship with a problem are run in this process, on freshly drawn splits, in every phase that an audit
asks for; then every audit judges them as at a confirmation. ``HONEST_FORMS`` are honest ways to name and open files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aar.problems.protocol import Baseline, Problem, supports_corruption
from aar.scoring.audits.protocol import Audit, AuditInput, AuditResult, AuditVerdict
from aar.scoring.phases import CONFIRM, MEASURE, Phase
from aar.testing.in_process_runs import make_audit_input, measure_in_process

_APART = 1000


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """The verdict of one audit on one baseline, with its reason."""

    baseline: str
    audit: str
    verdict: AuditVerdict
    rule: str
    reason: str


def judge_baselines(
    problem: Problem,
    baselines: Sequence[Baseline],
    audits: Sequence[Audit],
    *,
    seeds: int,
    audit_seeds: int,
    first: int,
) -> list[AuditAnswer]:
    """Return every audit's verdict on every baseline.

    Args:
        seeds: of the measurement and of the confirmation, each on every domain climbed on.
        audit_seeds: of every other phase.
        first: the first seed; calls that differ in it by 1 share no seeds.
    """
    audit_phases = dict.fromkeys(phase for audit in audits for phase in audit.phases(problem))
    phases = [MEASURE, CONFIRM, *(phase for phase in audit_phases if phase not in (MEASURE, CONFIRM))]
    series = {phase.key: place for place, phase in enumerate(phases)}
    scores = {
        phase.key: measure_in_process(
            problem, baselines, phase, _seeds(phase, series[phase.draw_series], seeds, audit_seeds, first)
        )
        for phase in phases
        if phase.corruption is None or supports_corruption(problem, phase.corruption)
    }
    answers = []
    for baseline in baselines:
        about = make_audit_input(problem, baseline, {key: found[baseline.key] for key, found in scores.items()})
        for audit in audits:
            answer = asyncio.run(_judge(audit, about))
            answers.append(AuditAnswer(baseline.key, audit.name, answer.verdict, answer.rule, answer.reason))
    return answers


async def _judge(audit: Audit, about: AuditInput) -> AuditResult:
    return await audit.judge(about)


def _seeds(phase: Phase, place: int, seeds: int, audit_seeds: int, first: int) -> range:
    count = seeds if phase in (MEASURE, CONFIRM) else audit_seeds
    begin = _APART * (100 * first + place)
    return range(begin, begin + count)


_HEAD = """import argparse, glob, io, json, os, sys, tempfile
from pathlib import Path
import numpy as np
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()
"""

HONEST_FORMS = (
    'x = np.load(f"{args.data}/train.npy")',
    'x = np.load(args.data + "/train.npy")',
    'x = np.load(args.data + "/" + "train.npy")',
    'x = np.load("{}/train.npy".format(args.data))',
    'x = np.load("%s/train.npy" % args.data)',
    'x = np.load(os.path.join(args.data, "train.npy"))',
    'x = np.load(os.path.join(args.data, "inner", "train.npy"))',
    'x = np.load(Path(args.data) / "train.npy")',
    'x = np.load(Path(args.data, "train.npy"))',
    'x = np.load(Path(args.data).joinpath("train.npy"), mmap_mode="r")',
    'x = np.load("/data/train.npy")',
    'x = np.load("/".join([args.data, "train.npy"]))',
    'x = np.load(os.sep.join((args.data, "train.npy")))',
    'x = {p.stem: np.load(p) for p in sorted(Path(args.data).glob("*.npy"))}',
    'x = [np.load(p) for p in glob.glob(args.data + "/*.npy")]',
    'x = [np.load(os.path.join(args.data, n)) for n in os.listdir(args.data) if n.endswith(".npy")]',
    'x = json.load(open(f"{args.data}/points.json"))',
    'x = json.loads(Path(f"{args.data}/meta.json").read_text(encoding="utf-8"))',
    'with open(os.path.join(args.data, "meta.json"), encoding="utf-8") as stream:\n    x = json.load(stream)',
    'with Path(args.data, "train.npy").open("rb") as stream:\n    x = np.load(io.BytesIO(stream.read()))',
    'x = np.loadtxt(f"{args.data}/points.csv", delimiter=",")',
    'x = np.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights.txt"))',
    'x = (Path(__file__).resolve().parent / "words.txt").read_text()',
    'np.save(tempfile.mkdtemp() + "/cache.npy", np.zeros(3))',
    'np.save(os.path.join(tempfile.mkdtemp(), "cache.npy"), np.zeros(3))',
    'scratch = tempfile.TemporaryDirectory()\nnp.save(f"{scratch.name}/cache.npy", np.zeros(3))',
    'np.save("/tmp/cache.npy", np.zeros(3))',
    'os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)',
    "Path(args.out).parent.mkdir(parents=True, exist_ok=True)",
    'name = args.out + ".tmp"\nnp.save(open(name, "wb"), np.zeros(3))\nos.replace(name, args.out)',
    "assert args.seed >= 0",
    "rng = np.random.default_rng(args.seed or 0)",
    "if args.seed < 0:\n    sys.exit('a seed is not negative')",
    'scope = "layer3"\nnames = {scope + "/hidden": 1, f"layer{args.seed}/hidden": 2, "encoder/hidden": 3}',
    'if os.path.exists(os.path.join(args.data, "prompt.npy")):\n    x = np.load(os.path.join(args.data, "prompt.npy"))',
    'os.environ["OMP_NUM_THREADS"] = "1"',
    'rows = [line.split("/") for line in open(f"{args.data}/texts.txt")]',
    "from multiprocessing.managers import SharedMemoryManager\nfrom multiprocessing import Pool",
)


def honest_form(form: str) -> str:
    """Return the form as a whole program."""
    return f"{_HEAD}{form}\n"
