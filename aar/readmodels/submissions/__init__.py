"""Reads submissions for people: details, board, code, lineage, winners."""
