"""Measures the diversity of the researchers' ideas."""
