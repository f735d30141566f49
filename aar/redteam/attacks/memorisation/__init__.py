"""Attacks that carry answers in the code."""
