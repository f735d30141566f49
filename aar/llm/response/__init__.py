"""Reads a model's reply, streamed or complete, into content blocks."""
