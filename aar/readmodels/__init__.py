"""Reads the data that pages, API, command line and report share."""
