"""``aar forum``: read, write, edit and search posts and comments."""
