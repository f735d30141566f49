"""Serves the application: listen address, server process, connection limits."""
