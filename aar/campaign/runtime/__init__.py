"""Provides what the parts of a running campaign share, and restarts what dies."""
