"""Attacks from inside a scoring run."""
