"""Runs submitted methods in fresh sandboxes."""
