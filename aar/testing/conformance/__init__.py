"""Conformance suites for every problem, sandbox backend and database, yours included."""
