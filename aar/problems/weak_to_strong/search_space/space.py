"""The search space: genes, descriptions and rendering combined."""

from __future__ import annotations

import ast
import json
import re
import shlex
from random import Random

import yaml

from aar.problems.search_space.protocol import Genome
from aar.problems.weak_to_strong.search_space.descriptions import describe_genome, genome_claim, genome_families
from aar.problems.weak_to_strong.search_space.genes import GENE_POOL
from aar.problems.weak_to_strong.search_space.render import render_program

MAX_TITLE = 120

_LITERAL = re.compile(r"^GENOME = (\{[^{}]*\})", re.MULTILINE)
_MAX_LITERAL = 4000

_TRIAL = """cd {directory} || exit 1
for domain in $(ls {data}); do
  timeout -k 2 90 python run.py --data {data}/$domain --seed 0 --out trial-$domain.npy \\
    || {{ echo "trial: failed on $domain"; exit 1; }}
done
python - <<'END' && echo "trial: ok"
import sys
from pathlib import Path
import numpy as np
import w2s
from w2s import fit_logistic
for folder in sorted(Path({data_literal}).iterdir()):
    data = w2s.load(folder)
    p = np.load(f"trial-{{folder.name}}.npy")
    if p.shape != (len(data.test),) or not np.isfinite(p).all():
        sys.exit(f"trial: failed: {{folder.name}}: bad output, shape {{p.shape}}")
    plain = fit_logistic(data.train, data.weak > 0.5).logits(data.test) > 0
    prompted = w2s.zero_shot_logits(data, data.test) > 0
    print(f"{{folder.name}}: {{(p > 0.5).mean():.2f}} of the predictions are class 1; a head on the plain weak labels "
          f"agrees on {{((p > 0.5) == plain).mean():.2f}}, the prompts on {{((p > 0.5) == prompted).mean():.2f}}")
END
status=$?; rm -f trial-*.npy; exit $status"""


class WeakToStrongSearchSpace:
    """Methods made of heads on frozen states, label sources, repairs, filters and ensembles."""

    def sample(self, rng: Random, direction: str) -> Genome:
        """Return a new genome, its genes weighted by the direction's words."""
        return GENE_POOL.sample(rng, direction)

    def mutate(self, rng: Random, genome: Genome, direction: str) -> Genome:
        """Return a genome that differs in one to three genes."""
        return GENE_POOL.mutate(rng, genome, direction)

    def cross(self, rng: Random, first: Genome, second: Genome) -> Genome:
        """Return every gene from one of the two."""
        return GENE_POOL.cross(rng, first, second)

    def simplify(self, genome: Genome) -> Genome:
        """Remove the costliest component of a genome.

        The order: bagging, then self-training, then repair, then all but a few axes.
        """
        for gene, cheap in (
            ("members", 1),
            ("rounds", 0),
            ("denoise", "none"),
            ("smoothing", 0),
            ("loss", "cross-entropy"),
        ):
            if genome[gene] != cheap:
                return {**genome, gene: cheap}
        return genome if genome["pca"] in (10, 20) else {**genome, "pca": 20}

    def distance(self, first: Genome, second: Genome) -> float:
        """Count the differing genes that are active."""
        return GENE_POOL.distance(first, second)

    def render(self, genome: Genome, *, parent: str | None) -> dict[str, str]:
        """Return ``run.py`` and ``method.yaml``."""
        sentence = describe_genome(genome)
        title = sentence if len(sentence) <= MAX_TITLE else sentence[: MAX_TITLE - 3] + "..."
        fields: dict[str, object] = {"title": title, "claim": genome_claim(genome), "families": genome_families(genome)}
        if parent is not None:
            fields["parent"] = parent
        manifest = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)
        return {"run.py": render_program(genome, title, _wrapped(genome_claim(genome))), "method.yaml": manifest}

    def parse(self, source: str) -> Genome | None:
        """Return the literal ``GENOME`` of a rendered program if all its genes are valid."""
        found = _LITERAL.search(source)
        if found is None or len(found.group(1)) > _MAX_LITERAL:
            return None
        try:
            genome = ast.literal_eval(found.group(1))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None
        return genome if GENE_POOL.is_valid(genome) else None

    def describe(self, genome: Genome) -> str:
        """Return the components in one sentence."""
        return describe_genome(genome)

    def trial(self, directory: str, research_data: str) -> str:
        """Return a command that runs the method on every research domain.

        It compares the predictions with other guesses.
        """
        return _TRIAL.format(
            directory=shlex.quote(directory), data=shlex.quote(research_data), data_literal=json.dumps(research_data)
        )


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 100))
