"""Calls models: endpoints, gateway, limiter, retries, and the capabilities of models."""
