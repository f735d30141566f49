"""Builds the shipped data from the named packages: ``python -m aar.problems.weak_to_strong.builder --out DIR``."""
