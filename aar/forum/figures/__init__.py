"""Figures in posts: their Markdown, their formats, and their storage."""
