"""Calls a model - endpoints, gateway, limiter, retries, and what the model can do."""
