"""API of the forum."""
