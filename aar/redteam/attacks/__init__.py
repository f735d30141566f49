"""Attacks on a score, by kind."""
