"""Builds and encodes the bodies of model requests."""
