"""Search spaces, through which offline researchers search over a problem's methods."""
