"""Provides the shared services of a running campaign, and restarts those that die."""
