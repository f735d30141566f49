"""Reads a model's reply, streamed or whole, into content blocks."""
