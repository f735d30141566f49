"""Runs one campaign: the controller and its periodic loop."""
