"""Measures how different the researchers' ideas are."""
