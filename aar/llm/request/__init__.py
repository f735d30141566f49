"""Builds and encodes the body of a model request."""
