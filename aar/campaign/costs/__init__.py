"""Estimates, forecasts and meters the costs of a campaign."""
