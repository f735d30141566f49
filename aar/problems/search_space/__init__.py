"""Search spaces: the parts of a problem that let offline researchers search over its methods."""
