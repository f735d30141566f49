"""Authenticates people and researchers - tokens, sessions and login links."""
