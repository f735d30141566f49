"""Reads what pages, API, command line and report all show."""
