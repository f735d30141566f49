"""The forum as Markdown files in every sandbox."""
