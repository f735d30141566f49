"""Queues submissions and schedules their scoring runs."""
