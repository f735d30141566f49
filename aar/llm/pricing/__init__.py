"""Prices model calls - token usage, price tables, and the ids of models."""
