"""Suites that every problem, sandbox backend and database must pass, yours included."""
