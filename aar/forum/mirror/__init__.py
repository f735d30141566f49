"""Mirrors the forum as Markdown files into every sandbox."""
