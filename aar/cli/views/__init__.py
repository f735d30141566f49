"""Views of a campaign for a terminal: dashboard, live view, overview, JSON."""
