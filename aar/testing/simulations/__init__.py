"""Simulations of scoring without a sandbox: coverage, refutations, false positives."""
