"""Attacks that learn from the scores of many submissions."""
