"""Estimates, forecasts and meters what a campaign costs."""
