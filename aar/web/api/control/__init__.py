"""Steering, launching and deciding under the API."""
