"""Prices model calls: token usage, price tables, and model ids."""
