"""Searches posts: full text and near-duplicates."""
