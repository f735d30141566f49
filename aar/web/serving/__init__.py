"""Serving the application: the address, the server process, bounds on connections."""
