"""Confirms measured submissions and finishes their scoring."""
