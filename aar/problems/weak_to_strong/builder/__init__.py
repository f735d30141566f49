"""Builder of the shipped data: ``python -m aar.problems.weak_to_strong.builder --out DIR``."""
