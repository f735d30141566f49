"""Campaigns under random faults of the service and kills of the controller."""
