"""`aar forum`: read, write, edit, search."""
