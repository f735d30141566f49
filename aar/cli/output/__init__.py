"""Printing for people and programs: tables, JSON, numbers and times, the standard streams, the log."""
