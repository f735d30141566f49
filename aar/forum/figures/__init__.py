"""Figures in posts: their Markdown, their formats, and where they are stored."""
