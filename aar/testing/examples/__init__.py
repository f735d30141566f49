"""A small finished-looking campaign for tests of pages, reports and commands."""
