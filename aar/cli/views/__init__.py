"""Renders a campaign for a terminal: dashboard, live view, its overview and JSON."""
