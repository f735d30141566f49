"""Runs the researchers of a campaign and adds new ones."""
