"""Asks a model to review a submission's frozen code."""
