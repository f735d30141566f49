"""Writes scores and ranks them."""
