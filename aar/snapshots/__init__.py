"""Content-addressed copies of workspaces and methods, and where each came from."""
