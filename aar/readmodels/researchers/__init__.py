"""Reads a researcher's transcript, background jobs and workspace."""
