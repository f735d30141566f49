"""Runs a campaign from a terminal: start, resume, the page server beside it, one line an event."""
